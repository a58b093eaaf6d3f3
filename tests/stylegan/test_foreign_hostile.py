"""Files made to harm whoever reads them do nothing but raise one error, quickly, in little memory."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegan.foreign.container import parse, read_tree
from stylegan.foreign.records import Budget, Opaque, UnreadableFile
from tests.stylegan.hostile_pickles import ASLEEP, CANARY, F4, HOSTILE, LIVE, array, billion_laughs, pickled, zipped

ROOT = Path(__file__).resolve().parents[2]
MAX_SECONDS, MAX_MB = 5.0, 200.0


def read_in_child(folder: Path, files: dict[str, bytes], reader: str) -> dict[str, Any]:
    """What a child process tells of reading the files one after the other."""
    for i, data in enumerate(files.values()):
        (folder / f"{i:03d}.bin").write_bytes(data)
    command = [sys.executable, str(ROOT / "tests/stylegan/hostile_child.py"), str(folder), reader]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    told: dict[str, Any] = json.loads(done.stdout)
    return {"before_mb": told["before_mb"], "reports": dict(zip(files, told["reports"], strict=True))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    # The first files make numpy and zipfile import what they import on first use, so that it is not counted below.
    warm = {"warm array": pickled(array(F4, (2,), bytes(8))), "warm zip": zipped(pickled(F4), {})}
    return read_in_child(folder, warm | ASLEEP | HOSTILE, "ours")


def saved(value: Any, *, new: bool) -> bytes:
    """What torch.save makes of a value, in its zip or in its older format."""
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=new)
    return out.getvalue()


def read(data: bytes) -> Any:
    return parse(data, Budget.of(len(data)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_one_error(told: dict[str, Any], name: str) -> None:
    report = told["reports"][name]
    assert report["outcome"] == "UnreadableFile", report["message"]
    assert report["seconds"] < MAX_SECONDS


@pytest.mark.parametrize("name", ASLEEP)
def test_what_lies_in_a_well_formed_file_stays_asleep(told: dict[str, Any], name: str) -> None:
    assert told["reports"][name]["outcome"] == "read"


def test_no_hostile_file_makes_the_interpreter_do_anything(told: dict[str, Any], folder: Path) -> None:
    # Every audit event counts: imports, compiled code, processes, sockets, files opened. None may happen at all.
    happened = {name: report["events"] for name, report in told["reports"].items() if not name.startswith("warm")}
    assert {name: events for name, events in happened.items() if events} == {}
    assert not (folder / CANARY).exists()


def test_no_hostile_file_takes_much_memory(told: dict[str, Any]) -> None:
    peak = max(report["peak_mb"] for report in told["reports"].values())
    assert peak - told["before_mb"] < MAX_MB


def test_the_live_ones_are_live(tmp_path: Path) -> None:
    # Without this the tests above could pass with files that would harm nobody.
    for i, (name, data) in enumerate(LIVE.items()):
        place = tmp_path / str(i)
        place.mkdir()
        (place / "x.bin").write_bytes(data)
        code = "import pickle; pickle.loads(open('x.bin', 'rb').read())"
        subprocess.run([sys.executable, "-S", "-c", code], cwd=place, capture_output=True, check=False)
        assert (place / CANARY).exists() or name == "dotted name", name


def test_an_audit_hook_sees_what_pythons_own_reader_does(tmp_path: Path) -> None:
    told = read_in_child(tmp_path, {"os.system": LIVE["os.system"]}, "pickle")
    assert any("os.system" in event for event in told["reports"]["os.system"]["events"])


@pytest.mark.parametrize("new", [True, False])
def test_a_file_cut_anywhere_is_refused(new: bool) -> None:
    data = saved({"a": torch.arange(6.0), "b": [1, "x"]}, new=new)
    assert read(data)["b"] == [1, "x"]
    for length in random.Random(0).sample(range(len(data)), 300):
        with pytest.raises(UnreadableFile):
            read(data[:length])


def test_a_snapshot_cut_anywhere_is_refused(fixtures: Path) -> None:
    data = (fixtures / "nv_sg2_resnet_16.pkl").read_bytes()
    for length in random.Random(0).sample(range(len(data)), 60):
        with pytest.raises(UnreadableFile):
            read(data[:length])


@pytest.mark.parametrize("name", ["nv_sg2_resnet_16.pkl", "ros_sg1_010000.model"])
def test_a_file_with_wrong_bytes_is_read_or_refused(fixtures: Path, name: str) -> None:
    # Whatever a changed byte does, nothing but our error comes out.
    whole, chance = (fixtures / name).read_bytes(), random.Random(1)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[chance.randrange(min(len(data), 20_000))] = chance.randrange(256)
        try:
            read(bytes(data))
        except UnreadableFile:
            refused += 1
    assert refused > 10


def test_the_error_says_which_file_and_where(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(LIVE["os.system"])
    with pytest.raises(UnreadableFile, match=r"evil\.pkl: byte 21: asks for os\.system"):
        read_tree(path)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
     torch.uint8, torch.bool],
)  # fmt: skip
def test_tensors_of_every_number_format_come_back(new: bool, dtype: torch.dtype) -> None:
    tensor = (torch.arange(24) % 5).to(dtype).reshape(2, 3, 4)
    part = tensor.permute(2, 0, 1)[1:3]
    found = read(saved({"whole": tensor, "part": part}, new=new))
    assert found["whole"].dtype == dtype
    assert torch.equal(found["whole"], tensor)
    assert torch.equal(found["part"], part)


def test_an_empty_tensor_and_a_number_come_back() -> None:
    found = read(saved([torch.empty(0, 3), torch.tensor(2.5)], new=True))
    assert found[0].shape == (0, 3)
    assert float(found[1]) == 2.5


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_of_every_protocol_come_back(protocol: int) -> None:
    import pickle

    arrays = [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6, dtype=">i2").reshape(3, 2)), np.array(True)]
    data = pickle.dumps({"arrays": arrays, "number": np.float32(1.5), "set": {"a", 1}}, protocol=protocol)
    found = read(data)
    assert all(np.array_equal(a, b) for a, b in zip(found["arrays"], arrays, strict=True))
    assert found["number"] == 1.5
    assert found["set"] == {"a", 1}


def test_an_object_is_a_record_of_its_state() -> None:
    import argparse

    found = read(saved({"args": argparse.Namespace(size=32)}, new=True))["args"]
    assert isinstance(found, Opaque)
    assert (found.module, found.name, found.state) == ("argparse", "Namespace", {"size": 32})


def test_billion_laughs_stay_small() -> None:
    value, shared = read(billion_laughs()), 0
    while isinstance(value, list) and value:
        value, shared = value[0], shared + 1
    assert shared > 10
