"""Foreign files made our own, the way back, and what the library says about labels and psi."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import stylegan
from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.foreign import rosinality
from stylegan.foreign.container import read_tree
from stylegan.foreign.donor import Hints
from stylegan.foreign.imported import import_file, read_donor, read_weights
from stylegan.foreign.records import UnreadableFile
from stylegan.foreign.to_onnx import write_onnx
from stylegan.foreign.to_rosinality import to_rosinality, write_rosinality
from stylegan.model import Model

STYLE = {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
NETWORKS: dict[str, dict[str, Any]] = {
    "stylegan2": STYLE | {"architecture": "stylegan2", "num_labels": 3},
    "stylegan1": STYLE | {"architecture": "stylegan1"},
    "stylegan3-t": STYLE | {"architecture": "stylegan3-t", "num_layers": 4},
    "stylegan3-r": STYLE | {"architecture": "stylegan3-r", "num_layers": 4},
    "r3gan": {"architecture": "r3gan", "z_dim": 8, "channel_base": 256, "channel_max": 16, "blocks": 1},
    "dcgan": {"architecture": "dcgan", "z_dim": 8, "channels": 8},
}


def make_model(name: str, **network: Any) -> Model:
    """A tiny model of an architecture, its weights drawn and stirred from a fixed seed."""
    config = TrainConfig.model_validate({"resolution": 16, "network": NETWORKS[name] | network})
    G, D = build_networks(config.network, config.resolution, seed=1)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in [*G.parameters(), *D.parameters(), G.mapping.w_avg]:
            weight += 0.05 * torch.randn(weight.shape, generator=random)
    return Model(config, G, D)


def labels_of(model: Model, count: int) -> Tensor | None:
    return torch.arange(count) % model.num_labels if model.num_labels else None


@pytest.fixture
def imported(fixtures: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    source = fixtures / "ros_sg2_32_000100.pt"
    return tmp_path / "model", import_file(source, tmp_path / "model", licence="CC0, made for a test")


def test_an_imported_model_is_two_files(imported: tuple[Path, dict[str, Any]]) -> None:
    assert sorted(path.name for path in imported[0].iterdir()) == ["model.json", "model.safetensors"]


def test_model_json_says_what_it_is_and_where_it_came_from(
    imported: tuple[Path, dict[str, Any]], fixtures: Path
) -> None:
    folder, about = imported
    assert json.loads((folder / "model.json").read_text()) == about
    source = fixtures / "ros_sg2_32_000100.pt"
    assert about["from"] == {
        "file": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "format": "rosinality",
    }
    assert (about["architecture"], about["resolution"], about["kimg"]) == ("stylegan2", 32, 1.6)
    assert (about["licence"], about["data_lock"]) == ("CC0, made for a test", None)
    w_avg = stylegan.load(folder).G.mapping.w_avg
    assert about["w_avg_sha256"] == hashlib.sha256(w_avg.numpy().tobytes()).hexdigest()


def test_imported_and_foreign_files_make_the_same_pictures(
    imported: tuple[Path, dict[str, Any]], fixtures: Path
) -> None:
    z = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    foreign = stylegan.load(fixtures / "ros_sg2_32_000100.pt").sample(z)
    for path in (imported[0], imported[0] / "model.safetensors"):
        assert torch.equal(stylegan.load(path).sample(z), foreign)


def test_a_training_can_start_from_an_imported_model(imported: tuple[Path, dict[str, Any]]) -> None:
    config, tensors = read_donor(imported[0])
    G, D = build_networks(config.network, config.resolution)
    G.load_state_dict(tensors["G"])
    D.load_state_dict(tensors["D"])
    assert set(tensors) == {"G_ema", "G", "D"}


def test_an_import_never_overwrites(imported: tuple[Path, dict[str, Any]], fixtures: Path) -> None:
    with pytest.raises(ValueError, match="is there already"):
        import_file(fixtures / "ros_sg2_32_000100.pt", imported[0])


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(UnreadableFile):
        import_file(tmp_path / "evil.pkl", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_a_path_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a checkpoint folder nor a model file"):
        read_weights(tmp_path / "x.pkl")


# The way back


def test_rosinalitys_names_and_shapes_come_back_as_they_were(fixtures: Path) -> None:
    source = fixtures / "ros_sg2_32_000100.pt"
    written, genuine = to_rosinality(stylegan.load(source)), read_tree(source)
    for name in ("g_ema", "d"):
        assert {k: v.shape for k, v in written[name].items()} == {k: v.shape for k, v in genuine[name].items()}
        assert all(torch.equal(written[name][k], v) for k, v in genuine[name].items())


def test_written_files_are_read_back_as_the_same_networks(tmp_path: Path) -> None:
    model = make_model("stylegan2", num_labels=0)
    write_rosinality(model, tmp_path / "out")
    states = {name: safetensors.torch.load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("g_ema", "d")}
    mean = safetensors.torch.load_file(tmp_path / "out" / "latent_avg.safetensors")
    donor = rosinality.read(states | mean, Hints())
    assert model.D is not None
    for name, network in (("G_ema", model.G), ("D", model.D)):
        ours = network.state_dict()
        assert donor.tensors[name].keys() == ours.keys()
        assert all(torch.equal(donor.tensors[name][k], v) for k, v in ours.items())


@pytest.mark.parametrize(
    ("name", "network", "said"),
    [
        ("stylegan2", {}, "num_labels is 3, there it is 0"),
        ("stylegan2", {"num_labels": 0, "generator": "resnet"}, "generator is resnet, there it is skip"),
        ("stylegan2", {"num_labels": 0, "z_dim": 8}, "z_dim 8 and w_dim 16 are one number there"),
        ("r3gan", {}, "this network is a r3gan"),
    ],
)
def test_what_rosinalitys_classes_cannot_be_is_refused(
    name: str, network: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        write_rosinality(make_model(name, **network), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_makes_the_same_pictures(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = make_model(name)
    write_onnx(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count, psi in ((1, 0.5), (5, 1.0)):
        z = torch.randn(count, model.z_dim, generator=torch.Generator().manual_seed(count))
        given = {"z": z.numpy(), "psi": np.array(psi, np.float32)}
        labels = labels_of(model, count)
        if labels is not None:
            given["labels"] = np.eye(model.num_labels, dtype=np.float32)[labels.numpy()]
        images = session.run(["images"], given)[0]
        np.testing.assert_allclose(images, model.sample(z, labels, psi=psi).numpy(), rtol=0, atol=1e-3)


# The library's interface


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_maps_samples_synthesises_and_scores(name: str) -> None:
    model = make_model(name)
    z, labels = torch.randn(5, model.z_dim), labels_of(make_model(name), 5)
    images = model.sample(z, labels, psi=0.7)
    assert images.shape == (5, 3, 16, 16)
    assert torch.equal(images, model.synthesise(model.map(z, labels, psi=0.7)))
    assert model.score(images[:4], None if labels is None else labels[:4]).shape == (4,)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_psi_for_every_layer_equals_one_number(name: str) -> None:
    model = make_model(name)
    z, labels = torch.randn(2, model.z_dim), labels_of(make_model(name), 2)
    expected = model.map(z, labels, psi=0.3)
    for psi in ([0.3] * model.num_ws, torch.full([model.num_ws], 0.3), torch.tensor(0.3)):
        torch.testing.assert_close(model.map(z, labels, psi=psi), expected)


def test_class_numbers_and_one_hot_rows_are_the_same_labels() -> None:
    model, z = make_model("stylegan2"), torch.randn(3, 16)
    expected = model.sample(z, torch.eye(3)[[2, 0, 1]])
    for labels in ([2, 0, 1], np.array([2, 0, 1]), torch.tensor([2, 0, 1]), np.eye(3)[[2, 0, 1]]):
        assert torch.equal(model.sample(z, labels), expected)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "trained with labels and cannot do without: give 2 class numbers from 0 to 2"),
        ([0, 3], r"labels are \[0, 3\]: give 2 class numbers"),
        ([0], r"labels are \[0\]"),
        ([-1, 0], "labels are"),
        (torch.zeros(2, 4), r"labels have shape \[2, 4\]"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, said: str) -> None:
    model = make_model("stylegan2")
    with pytest.raises(ValueError, match=said):
        model.sample(torch.randn(2, 16), labels)
    with pytest.raises(ValueError, match=said):
        model.score(torch.zeros(2, 3, 16, 16), labels)


def test_labels_for_a_network_without_are_refused() -> None:
    with pytest.raises(ValueError, match="trained without labels: leave labels out"):
        make_model("stylegan1").sample(torch.randn(2, 16), [0, 1])


def test_a_psi_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"psi has shape \[3\]: give one number, or one for each of 6 w"):
        make_model("stylegan2").map(torch.randn(2, 16), [0, 1], psi=[0.1, 0.2, 0.3])


# The command


def test_import_and_export_are_commands(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("flows.cli").main
    monkeypatch.setenv("STYLEGAN_DATA", str(tmp_path / "data"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["stylegan", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert run("import", str(fixtures / "ros_sg2_32_000100.pt"), "--licence", "CC0") == 0
    assert "stylegan2, 32 px, 2 kimg, licence CC0" in capsys.readouterr().out
    folder = tmp_path / "data" / "models" / "ros_sg2_32_000100"
    assert run("export", str(folder), "--to", "rosinality", "--out", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "g_ema.safetensors").is_file()
    assert run("import", str(fixtures / "luc_sg2_32_model_1.pt")) == 2
    assert "no StyleGAN2 under other names" in capsys.readouterr().err
    assert run("export", str(folder), "--to", "tflite") == 2
