from __future__ import annotations

import csv
import hashlib
import shutil

import pytest

from tasks.assets import find_asset, read_assets
from tasks.errors import AssetMissing, IntegrityError

NAME = "lbpcascade_animeface.xml"


@pytest.fixture(autouse=True)
def _no_assets_folder(monkeypatch):
    monkeypatch.delenv("STYLEGAN_ASSETS", raising=False)


def test_the_catalogue_agrees_with_the_files(realdata):
    with (realdata / "assets/ASSETS.csv").open(newline="") as table:
        rows = {row["file"]: row for row in csv.DictReader(table)}
    assets = read_assets()
    assert NAME in assets
    for name, asset in assets.items():
        data = (realdata / "assets" / name).read_bytes()
        assert (asset.bytes, asset.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        commit = rows[name]["canonical_url"].split("/blob/")[1].split("/")[0]
        assert commit in asset.url


def test_an_asset_is_found_in_the_named_folder_first_and_then_under_the_root(realdata, tmp_path, monkeypatch):
    (tmp_path / "assets").mkdir()
    shutil.copyfile(realdata / "assets" / NAME, tmp_path / "assets" / NAME)
    assert find_asset(NAME, tmp_path) == tmp_path / "assets" / NAME
    monkeypatch.setenv("STYLEGAN_ASSETS", str(realdata / "assets"))
    assert find_asset(NAME, tmp_path) == realdata / "assets" / NAME


def test_a_missing_asset_is_named_with_its_place_address_and_licence(tmp_path):
    with pytest.raises(AssetMissing) as failure:
        find_asset(NAME, tmp_path)
    for words in (NAME, str(tmp_path / "assets" / NAME), read_assets()[NAME].url, "MIT", "STYLEGAN_ASSETS"):
        assert words in str(failure.value)
    assert failure.value.exit_code == 3


def test_an_asset_of_other_bytes_is_refused_by_name(tmp_path, monkeypatch):
    size = read_assets()[NAME].bytes
    (tmp_path / NAME).write_bytes(bytes(size))
    monkeypatch.setenv("STYLEGAN_ASSETS", str(tmp_path))
    found = hashlib.sha256(bytes(size)).hexdigest()
    with pytest.raises(IntegrityError, match=rf"{NAME} has sha256 {found}, {read_assets()[NAME].sha256} was expected"):
        find_asset(NAME, tmp_path / "root")


def test_an_unknown_asset_is_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match=f"no asset is called 'inception'.*{NAME}"):
        find_asset("inception", tmp_path)


def test_an_asset_is_fetched_only_when_asked_and_once(web, tmp_path):
    served = web.serve("weights", b"weights of a network")
    catalogue = tmp_path / "assets.yaml"
    catalogue.write_text(
        f"net.bin:\n  what: a network\n  url: {web.url}/weights\n  bytes: 20\n"
        f"  sha256: {hashlib.sha256(b'weights of a network').hexdigest()}\n  licence: MIT\n"
    )
    with pytest.raises(AssetMissing):
        find_asset("net.bin", tmp_path / "root", catalogue=catalogue)
    assert served.requests == []
    for _ in range(2):
        path = find_asset("net.bin", tmp_path / "root", download=True, catalogue=catalogue)
        assert path == tmp_path / "root/assets/net.bin"
        assert path.read_bytes() == b"weights of a network"
    assert len(served.requests) == 1
