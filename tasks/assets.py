"""Model files of others: found by name, judged by digest, never replaced by something else."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from ruamel.yaml import YAML

from tasks.errors import AssetMissing
from tasks.sources.expected import Expected, check_file
from tasks.sources.found import Progress
from tasks.sources.transfer import PATIENCE, Patience, fetch

CATALOGUE = Path(__file__).resolve().parents[1] / "manifests" / "assets.yaml"


class Asset(BaseModel):
    """One model file of others, as manifests/assets.yaml states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: str = Field(description="what the file is")
    url: str = Field(pattern="^https?://", description="where it can be fetched")
    bytes: int = Field(gt=0, description="its size")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="its digest, hex")
    licence: str = Field(min_length=1, description="licence of the file")

    @property
    def expected(self) -> Expected:
        """What the file must be."""
        return Expected(sha256=self.sha256, bytes=self.bytes)


def read_assets(catalogue: Path = CATALOGUE) -> dict[str, Asset]:
    """Every known asset by file name."""
    raw = YAML(typ="safe").load(catalogue.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Asset]).validate_python(raw)


def find_asset(
    name: str,
    root: Path,
    *,
    download: bool = False,
    progress: Progress = lambda done, total, unit: None,
    patience: Patience = PATIENCE,
    catalogue: Path = CATALOGUE,
) -> Path:
    """The file of this name in $STYLEGAN_ASSETS, else in `assets/` of the data root, else fetched if `download`.

    AssetMissing when it is nowhere, IntegrityError when the file there is another one, ValueError for a name that
    manifests/assets.yaml does not know.
    """
    assets = read_assets(catalogue)
    if name not in assets:
        raise ValueError(f"no asset is called {name!r}; manifests/assets.yaml knows {', '.join(sorted(assets))}")
    asset = assets[name]
    for folder in asset_folders(root):
        if (path := folder / name).is_file():
            check_file(path, asset.expected, str(path))
            return path
    if not download:
        raise AssetMissing(_how_to_get(name, asset, root))
    return fetch([asset.url], root / "assets" / name, asset.expected, progress, patience)


def asset_folders(root: Path) -> list[Path]:
    """Where assets are looked for, in this order."""
    named = os.environ.get("STYLEGAN_ASSETS")
    return ([Path(named).expanduser()] if named else []) + [root / "assets"]


def _how_to_get(name: str, asset: Asset, root: Path) -> str:
    looked = ", ".join(str(folder) for folder in asset_folders(root))
    return (
        f"{name} is missing ({asset.what}; {asset.bytes:,} bytes, licence {asset.licence}). Looked in: {looked}. "
        f"Fetch {asset.url} and put it there as {root / 'assets' / name}, or name a folder that holds it in "
        f"STYLEGAN_ASSETS; its sha256 is {asset.sha256}"
    )
