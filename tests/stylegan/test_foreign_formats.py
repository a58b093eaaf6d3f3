"""Networks of other projects, read from their files, make the pictures that those projects made of them."""

from __future__ import annotations

import json
import pickle
import random
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import stylegan
from stylegan.architectures import Growth, build_networks
from stylegan.config import StyleGAN2Config
from stylegan.foreign import rosinality
from stylegan.foreign.container import read_tree
from stylegan.foreign.donor import Hints
from stylegan.foreign.formats import FORMATS, read_foreign
from stylegan.foreign.records import Opaque, UnreadableFile
from stylegan.model import Model

IMAGES = {"rtol": 1e-4, "atol": 1e-5}
# A file of every format: the fixture's name, or the function that writes one.
SAMPLES = {
    "nvidia": "nv_sg2_uncond_32.pkl",
    "rosinality": "ros_sg2_32_000100.pt",
    "rosinality-stylegan1": "ros_sg1_train_step-5.model",
    "lucidrains": "luc_sg2_32_model_1.pt",
}
NVIDIA = ["nv_sg2_uncond_32", "nv_sg2_cond_64", "nv_sg2_resnet_16", "nv_sg3t_32", "nv_sg3r_32"]


def arrays(path: Path) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in np.load(path).items()}


@pytest.fixture(params=NVIDIA)
def reference(fixtures: Path, request: pytest.FixtureRequest) -> tuple[Model, dict[str, Tensor], Tensor | None]:
    io = arrays(fixtures / f"{request.param}_io.npz")
    labels = io["c"] if io["c"].shape[1] else None
    return stylegan.load(fixtures / f"{request.param}.pkl"), io, labels


@pytest.fixture
def make_file(fixtures: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A file of a format, by the format's name."""

    def make(name: str) -> Path:
        if name in SAMPLES:
            return fixtures / SAMPLES[name]
        path = tmp_path / f"{name}.pkl"
        writers = {"tensorflow": write_tensorflow, "r3gan": lambda path: write_r3gan(fixtures, path)}
        writers[name](path)
        return path

    return make


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_knows_its_own_files_and_no_others(name: str, make_file: Callable[[str], Path]) -> None:
    tree = read_tree(make_file(name))
    assert [other for other, form in FORMATS.items() if form.recognise(tree)] == [name]
    for stranger in (None, [], {}, 3, "x", {"G_ema": 1, "g_ema": {"a": 1}, "GAN": {3: 4}}, [Opaque("a", "b", ())]):
        assert not FORMATS[name].recognise(stranger)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"lucidrains"}))
def test_every_format_gives_weights_that_fit_their_config(name: str, make_file: Callable[[str], Path]) -> None:
    found, donor = read_foreign(make_file(name))
    assert found == name
    G, D = build_networks(donor.config.network, donor.config.resolution)
    G.load_state_dict(donor.tensors["G_ema"])
    if "D" in donor.tensors:
        D.load_state_dict(donor.tensors["D"])
    assert all(v.dtype == torch.float32 for weights in donor.tensors.values() for v in weights.values())


def test_images_of_nvidias_networks_equal_theirs(
    reference: tuple[Model, dict[str, Tensor], Tensor | None],
) -> None:
    model, io, labels = reference
    for psi in (1.0, 0.7, -0.5):
        images = model.sample(io["z"], labels, psi=psi)
        torch.testing.assert_close(images, io[f"img_psi{psi}"], **IMAGES)
    torch.testing.assert_close(model.sample(io["z"], labels, psi=1.0, noise="none"), io["img_nonoise"], **IMAGES)


def test_codes_of_nvidias_networks_equal_theirs(reference: tuple[Model, dict[str, Tensor], Tensor | None]) -> None:
    model, io, labels = reference
    torch.testing.assert_close(model.map(io["z"], labels, psi=0.5, cutoff=3), io["ws_psi0.5_cut3"], **IMAGES)


def test_one_psi_for_every_layer_is_what_cutoff_says_shortly(
    reference: tuple[Model, dict[str, Tensor], Tensor | None],
) -> None:
    model, io, labels = reference
    psi = [0.5] * 3 + [1.0] * (model.num_ws - 3)
    torch.testing.assert_close(model.map(io["z"], labels, psi=psi), io["ws_psi0.5_cut3"], **IMAGES)


def test_logits_of_nvidias_networks_equal_theirs(reference: tuple[Model, dict[str, Tensor], Tensor | None]) -> None:
    model, io, labels = reference
    torch.testing.assert_close(model.score(io["real"], labels), io["D_on_real"][:, 0], **IMAGES)
    half = None if labels is None else labels[:2]
    torch.testing.assert_close(model.score(io["real"][:2], half), io["D_on_real_b2"][:, 0], **IMAGES)


@pytest.mark.parametrize("name", NVIDIA)
def test_weights_of_nvidias_networks_have_their_names(fixtures: Path, name: str) -> None:
    _, donor = read_foreign(fixtures / f"{name}.pkl")
    listed = json.loads((fixtures / f"{name}_names.json").read_text())
    for network in ("G", "D"):
        names = {k for k in listed[network] if not k.endswith("resample_filter")}
        assert set(donor.tensors[network]) == names


def test_older_snapshots_with_nested_arguments_are_read(fixtures: Path) -> None:
    # Its pictures were made in half precision, so here only w is compared; tests of StyleGAN2 compare the pictures.
    model, io = stylegan.load(fixtures / "ada_sg2_uncond_32.pkl"), arrays(fixtures / "ada_sg2_uncond_32_io.npz")
    torch.testing.assert_close(model.map(io["z"]), io["ws"], **IMAGES)


def test_images_of_rosinalitys_stylegan2_equal_theirs(fixtures: Path) -> None:
    model, io = stylegan.load(fixtures / SAMPLES["rosinality"]), arrays(fixtures / "ros_sg2_32_io.npz")
    model.G.mapping.w_avg.copy_(io["trunc_latent"][0])  # theirs was given from outside
    torch.testing.assert_close(model.sample(io["z1"], psi=1.0), io["img"], **IMAGES)
    torch.testing.assert_close(model.sample(io["z1"], psi=0.6), io["img_trunc0.6"], **IMAGES)
    w1, w2 = model.map(io["z1"]), model.map(io["z2"])
    torch.testing.assert_close(model.synthesise(torch.cat([w1[:, :3], w2[:, 3:]], dim=1)), io["img_mix3"], **IMAGES)
    noise = [io[f"noise{i}"] for i in range(7)]
    with torch.no_grad():
        torch.testing.assert_close(model.G.synthesis(w1, noise), io["img_noise"], **IMAGES)


def test_logits_of_rosinalitys_stylegan2_equal_theirs(fixtures: Path) -> None:
    model, io = stylegan.load(fixtures / SAMPLES["rosinality"]), arrays(fixtures / "ros_sg2_32_io.npz")
    torch.testing.assert_close(model.score(io["img"]), io["D_img"][:, 0], **IMAGES)
    torch.testing.assert_close(model.score(io["img"][:2]), io["D_img2"][:, 0], **IMAGES)


def test_a_missing_mean_is_computed_and_said(fixtures: Path) -> None:
    _, donor = read_foreign(fixtures / SAMPLES["rosinality"])
    model = stylegan.load(fixtures / SAMPLES["rosinality"])
    sample = model.map(torch.randn(20_000, 64, generator=torch.Generator().manual_seed(5)))[:, 0]
    assert (sample.mean(dim=0) - model.G.mapping.w_avg).abs().max() < 4 * sample.std() / 100
    assert any("no mean of w" in note for note in donor.notes)


def test_steps_times_batch_is_what_rosinality_has_seen(fixtures: Path) -> None:
    assert read_foreign(fixtures / SAMPLES["rosinality"])[1].images_seen == 100 * 16


def test_the_first_published_files_without_noise_maps_are_read(fixtures: Path) -> None:
    tree = read_tree(fixtures / SAMPLES["rosinality"])
    for name in ("g", "g_ema"):
        tree[name] = {k: v for k, v in tree[name].items() if not k.startswith("noises.")}
    donor = rosinality.read(tree, Hints())
    assert donor.tensors["G_ema"]["synthesis.b32.conv1.noise_const"].shape == (32, 32)
    assert any("no noise maps" in note for note in donor.notes)


@pytest.mark.parametrize("size", [4, 8])
def test_images_of_rosinalitys_stylegan1_equal_theirs(fixtures: Path, size: int) -> None:
    # Larger sizes of this random network magnify rounding; tests of StyleGAN1 hold them to it in float64.
    model, io = stylegan.load(fixtures / "ros_sg1_train_step-5.model"), arrays(fixtures / "ros_sg1_io.npz")
    assert model.resolution == 128
    assert model.D is not None
    step = size // 4 - 1
    for network in (model.G, model.D):
        network.grow(Growth(size, 1.0))
    noise = [io[f"noise{i}"] for i in range(step + 1) for _ in range(2)]
    with torch.no_grad():
        torch.testing.assert_close(model.G(io["z"], noise=noise), io[f"img_s{step}_a1.0"], **IMAGES)
    torch.testing.assert_close(model.score(io[f"img_s{step}_a1.0"]), io[f"D_s{step}_a1.0"][:, 0], **IMAGES)


def test_a_generator_alone_is_that_of_the_training_file(fixtures: Path) -> None:
    _, alone = read_foreign(fixtures / "ros_sg1_010000.model", resolution=128)
    _, whole = read_foreign(fixtures / "ros_sg1_train_step-5.model")
    assert list(alone.tensors) == ["G_ema"]
    assert alone.config == whole.config
    torch.testing.assert_close(alone.tensors["G_ema"], whole.tensors["G_ema"], rtol=0, atol=0)


def test_sizes_that_were_never_trained_are_left_aside(fixtures: Path, tmp_path: Path) -> None:
    state = read_tree(fixtures / "ros_sg1_010000.model")
    for i in range(4, 9):
        state[f"generator.to_rgb.{i}.conv.bias"].zero_()
    torch.save(state, tmp_path / "x.model")
    assert stylegan.load(tmp_path / "x.model").resolution == 32


def test_a_size_that_cannot_be_known_is_asked_for(fixtures: Path) -> None:
    with pytest.raises(UnreadableFile, match="name the size that was trained"):
        stylegan.load(fixtures / "ros_sg1_010000.model")


def test_lucidrains_is_refused_with_the_reason(fixtures: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"no StyleGAN2 under other names.*gain of sqrt\(2\)"):
        stylegan.load(fixtures / SAMPLES["lucidrains"])


def test_the_reason_is_true_lucidrains_mapping_has_no_gain_and_takes_latents_of_length_one(fixtures: Path) -> None:
    weights = read_tree(fixtures / SAMPLES["lucidrains"])["GAN"]
    lr = json.loads((fixtures / "luc_sg2_32.config.json").read_text())["lr_mlp"]
    io = arrays(fixtures / "luc_sg2_32_io.npz")
    x = F.normalize(io["z"], dim=1)
    for i in (0, 2, 4):
        x = F.leaky_relu(F.linear(x, weights[f"S.net.{i}.weight"] * lr, weights[f"S.net.{i}.bias"] * lr), 0.2)
    torch.testing.assert_close(x, io["w"], rtol=1e-4, atol=1e-5)


def test_images_and_logits_of_r3gan_equal_theirs(fixtures: Path, tmp_path: Path) -> None:
    io = arrays(fixtures / "r3gan_16.npz")
    write_r3gan(fixtures, tmp_path / "network-snapshot-000123.pkl")
    model = stylegan.load(tmp_path / "network-snapshot-000123.pkl")
    torch.testing.assert_close(model.sample(io["z"], psi=1.0), io["img"], **IMAGES)
    torch.testing.assert_close(model.score(io["img"]), io["D_img"], **IMAGES)
    assert model.images_seen == 123_000


def test_state_dicts_of_r3gan_are_read_as_well(fixtures: Path, tmp_path: Path) -> None:
    io = arrays(fixtures / "r3gan_16.npz")
    states = {name: {k[2:]: v for k, v in io.items() if k.startswith(f"{name}.")} for name in ("G", "D")}
    torch.save(states, tmp_path / "x.pt")
    torch.testing.assert_close(stylegan.load(tmp_path / "x.pt").sample(io["z"], psi=1.0), io["img"], **IMAGES)


class Plain(torch.nn.Module):
    """A module of a class that this process has and a reader has not."""


def plain_module(state: dict[str, Tensor]) -> torch.nn.Module:
    """Modules nested as the names of a state dict say, as R3GAN pickles its own."""
    root = Plain()
    for key, value in state.items():
        *path, last = key.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, Plain())
            module = module.get_submodule(part)
        if last == "Kernel":
            module.register_buffer(last, value)
        else:
            module.register_parameter(last, torch.nn.Parameter(value))
    return root


def write_r3gan(fixtures: Path, path: Path) -> None:
    """A snapshot as R3GAN pickles it: objects of classes in training.networks and R3GAN.Networks."""
    io = arrays(fixtures / "r3gan_16.npz")
    roots = {n: plain_module({k[2:]: v for k, v in io.items() if k.startswith(f"{n}.")}) for n in ("G", "D")}
    Plain.__module__ = "R3GAN.Networks"
    top = type("Generator", (torch.nn.Module,), {"__module__": "training.networks"})
    modules = {"R3GAN": None, "R3GAN.Networks": Plain, "training": None, "training.networks": top}
    for name, found in modules.items():
        sys.modules[name] = types.ModuleType(name)
        if found is not None:
            setattr(sys.modules[name], found.__name__, found)
    try:
        for root in roots.values():
            root.__class__ = top
        path.write_bytes(pickle.dumps({"G": roots["G"], "D": roots["D"], "G_ema": roots["G"]}))
    finally:
        Plain.__module__ = __name__
        for name in modules:
            del sys.modules[name]


class TensorFlowNetwork:
    """Pickled as dnnlib.tflib.network.Network is: the class by name, the state as a dictionary."""

    def __init__(self, variables: dict[str, np.ndarray], parts: dict[str, TensorFlowNetwork], **asked: Any) -> None:
        self.variables = list(variables.items())
        self.parts = parts
        self.asked = asked

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": 4,
            "name": "network",
            "static_kwargs": self.asked,
            "components": self.parts,
            "build_module_src": "raise SystemExit('this text must never run')",
            "build_func_name": "G_main",
            "variables": self.variables,
        }


TINY = StyleGAN2Config(z_dim=16, w_dim=24, mapping_layers=2, channel_base=256, channel_max=24)


def tensorflow_generator(state: dict[str, Tensor]) -> TensorFlowNetwork:
    """Our generator's weights as the TensorFlow projects keep them: written anew here, not by the reader's table."""
    parts: dict[str, dict[str, np.ndarray]] = {"mapping": {}, "synthesis": {"lod": np.float32(0)}}
    for key, tensor in state.items():
        value = tensor.numpy()
        part, *path, last = key.split(".")
        if part == "mapping" and path:
            layer = "LabelEmbed" if path[0] == "embed" else f"Dense{path[0][2:]}"
            parts[part][f"{layer}/{last}"] = value.T
        elif part == "synthesis":
            size = int(path[0][1:])
            level = int(np.log2(size))
            index = 0 if size == 4 else 2 * level - 5 + (path[-1] == "conv1" or path[1] == "conv1")
            names = {"conv0": "Conv0_up", "conv1": "Conv1" if size > 4 else "Conv", "torgb": "ToRGB", "skip": "Skip"}
            layer = f"{size}x{size}/{names.get(path[1] if len(path) > 1 else '', '')}"
            if last == "const":
                parts[part]["4x4/Const/const"] = value[None]
            elif last == "noise_const":
                parts[part][f"noise{index}"] = value[None, None]
            elif path[-1] == "affine":
                parts[part][f"{layer}/mod_{last}"] = value.T if last == "weight" else value - 1
            elif last == "weight":
                turned = value[:, :, ::-1, ::-1] if path[1] in ("conv0", "skip") else value
                parts[part][f"{layer}/weight"] = np.ascontiguousarray(turned.transpose(2, 3, 1, 0))
            else:
                parts[part][f"{layer}/{last}"] = value
    inner = {name: TensorFlowNetwork(found, {}) for name, found in parts.items()}
    own = {"dlatent_avg": state["mapping.w_avg"].numpy(), "lod": np.float32(0)}
    return TensorFlowNetwork(own, inner, num_channels=3, resolution=16, nonlinearity="lrelu")


def tensorflow_discriminator(state: dict[str, Tensor]) -> TensorFlowNetwork:
    variables = {}
    for key, tensor in state.items():
        value = tensor.numpy()
        block, layer, last = key.split(".")
        if block == "mapping":
            theirs = "LabelEmbed" if layer == "embed" else f"Mapping{layer[2:]}"
        else:
            size = int(block[1:])
            theirs = {"conv0": "Conv0", "conv1": "Conv1_down", "fromrgb": "FromRGB", "skip": "Skip", "conv": "Conv",
                      "fc": "Dense0", "out": "Output"}[layer]  # fmt: skip
            theirs = theirs if layer == "out" else f"{size}x{size}/{theirs}"
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim]
        variables[f"{theirs}/{last}"] = np.ascontiguousarray(value.transpose(axes))
    return TensorFlowNetwork(variables, {}, mbstd_group_size=4)


def as_tensorflow(networks: list[TensorFlowNetwork], protocol: int) -> bytes:
    """A pickle of the networks as objects of the class that those projects have."""
    TensorFlowNetwork.__module__, TensorFlowNetwork.__qualname__ = "dnnlib.tflib.network", "Network"
    names = ["dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"]
    sys.modules |= {name: types.ModuleType(name) for name in names}
    setattr(sys.modules[names[-1]], "Network", TensorFlowNetwork)  # noqa: B010
    try:
        return pickle.dumps(tuple(networks), protocol=protocol)
    finally:
        TensorFlowNetwork.__module__, TensorFlowNetwork.__qualname__ = __name__, "TensorFlowNetwork"
        for name in names:
            del sys.modules[name]


def without_small_colours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not re.search(r"b(4|8)\.(torgb|fromrgb)", k)}


def tensorflow_pickle(config: StyleGAN2Config, protocol: int = 4, drop: bool = False) -> tuple[bytes, Any, Any]:
    """A file of the TensorFlow kind with our own perturbed networks, and those networks."""
    G, D = build_networks(config, 16)
    keyed = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in [*G.state_dict().values(), *D.state_dict().values()]:
            value += 0.1 * torch.randn(value.shape, generator=keyed)
    states = [without_small_colours(n.state_dict()) if drop else n.state_dict() for n in (G, D)]
    networks = (tensorflow_generator(states[0]), tensorflow_discriminator(states[1]))
    return as_tensorflow([networks[0], networks[1], networks[0]], protocol), G, D


def write_tensorflow(path: Path) -> None:
    path.write_bytes(tensorflow_pickle(TINY)[0])


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "changes",
    [{}, {"generator": "resnet", "discriminator": "skip"}, {"num_labels": 3}],
    ids=["skip", "resnet", "labels"],
)
@torch.no_grad()
def test_networks_written_as_tensorflows_make_the_same_pictures(
    changes: dict[str, Any], protocol: int, tmp_path: Path
) -> None:
    data, G, D = tensorflow_pickle(TINY.model_copy(update=changes), protocol)
    (tmp_path / "network-snapshot-010000.pkl").write_bytes(data)
    model = stylegan.load(tmp_path / "network-snapshot-010000.pkl")
    z, labels = torch.randn(4, 16), torch.eye(3)[[0, 1, 2, 0]] if changes.get("num_labels") else None
    torch.testing.assert_close(model.sample(z, labels, psi=0.5), G(z, labels, psi=0.5), **IMAGES)
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(model.score(images, labels), D(images, labels), **IMAGES)
    assert model.images_seen == 10_000_000


@torch.no_grad()
def test_plain_networks_have_colours_of_their_whole_size_alone(tmp_path: Path) -> None:
    data, G, D = tensorflow_pickle(TINY.model_copy(update={"generator": "orig", "discriminator": "orig"}), drop=True)
    (tmp_path / "x.pkl").write_bytes(data)
    model = stylegan.load(tmp_path / "x.pkl")
    assert (model.config.network.generator, model.config.network.discriminator) == ("orig", "orig")
    z, images = torch.randn(4, 16), torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(model.sample(z, psi=0.5), G(z, psi=0.5), **IMAGES)
    torch.testing.assert_close(model.score(images), D(images), **IMAGES)


def test_stylegan1_of_tensorflow_is_refused_by_name(tmp_path: Path) -> None:
    network = TensorFlowNetwork({"synthesis/ToRGB_lod0/weight": np.zeros((1, 1, 8, 3), np.float32)}, {})
    (tmp_path / "x.pkl").write_bytes(as_tensorflow([network] * 3, 4))
    with pytest.raises(UnreadableFile, match=r"is a StyleGAN \(1\) of TensorFlow"):
        stylegan.load(tmp_path / "x.pkl")


# What does not fit is refused by name.


def change_nvidia(fixtures: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The error of reading a snapshot after a change of its plain values."""
    tree = read_tree(fixtures / "nv_sg2_uncond_32.pkl")
    change(tree)
    with pytest.raises(UnreadableFile) as caught:
        FORMATS["nvidia"].read(tree, Hints("x.pkl"))
    return str(caught.value)


def state_of(tree: dict[str, Any], *path: str) -> dict[str, Any]:
    """The attributes of a module of a snapshot: state_of(tree, "G_ema", "synthesis", "b8")."""
    state = tree[path[0]].args[0]["state"]
    for name in path[1:]:
        state = state["_modules"][name].args[0]["state"]
    return state


def test_a_wrong_layer_is_named(fixtures: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        state_of(tree, "G_ema", "synthesis", "b8", "conv0")["_parameters"]["weight"] = torch.zeros(64, 64, 5, 5)

    message = change_nvidia(fixtures, change)
    assert "synthesis.b8.conv0.weight has shape [64, 64, 5, 5], expected [64, 64, 3, 3]" in message


def test_a_missing_and_an_unknown_layer_are_named(fixtures: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        modules = state_of(tree, "G_ema", "mapping")["_modules"]
        modules["attention"] = modules.pop("fc7")

    message = change_nvidia(fixtures, change)
    assert "mapping.fc7.weight is missing" in message
    assert "mapping.attention.weight is unknown" in message


@pytest.mark.parametrize(
    ("path", "attribute", "value", "said"),
    [
        (("G_ema",), "img_resolution", 64, r"synthesis\.b64\.conv0.* is missing"),
        (("G_ema",), "img_resolution", 48, "power of two"),
        (("G_ema",), "img_resolution", "32", "img_resolution is '32', expected int"),
        (("G_ema",), "z_dim", 10**30, "z_dim is"),
        (("G_ema", "synthesis", "b8", "conv1"), "activation", "swish", "has the activation 'swish'"),
        (("G_ema", "synthesis", "b8", "conv1"), "conv_clamp", 7, "conv_clamp is 256 in .*b4.conv1 but 7 in .*b8.conv1"),
        (("G_ema", "synthesis", "b8"), "architecture", "orig", "architecture is 'skip' in"),
        (("D", "b4", "mbstd"), "num_channels", 2, r"D does not fit its own config: b4\.conv\.weight has shape"),
        (("D", "b4", "mbstd"), "num_channels", 3, "minibatch_channels is 3"),
        (("G_ema", "mapping"), "num_layers", 10**9, "num_layers|mapping_layers"),
        (("G_ema", "mapping", "fc0"), "bias_gain", float("nan"), "mapping_lr_multiplier"),
    ],
)
def test_a_wrong_config_is_named(fixtures: Path, path: tuple[str, ...], attribute: str, value: Any, said: str) -> None:
    message = change_nvidia(fixtures, lambda tree: state_of(tree, *path).__setitem__(attribute, value))
    assert re.search(said, message), message


def test_another_resampling_filter_is_refused(fixtures: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        state_of(tree, "G_ema", "synthesis", "b8", "conv0")["_buffers"]["resample_filter"] = torch.ones(4, 4) / 16

    assert "b8.conv0.resample_filter is another filter" in change_nvidia(fixtures, change)


def test_a_resolution_other_than_asked_for_is_refused(fixtures: Path) -> None:
    with pytest.raises(UnreadableFile, match="networks of 32 px, asked for are 64 px"):
        stylegan.load(fixtures / "nv_sg2_uncond_32.pkl", resolution=64)


def test_layers_shared_without_end_are_refused(fixtures: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        block = state_of(tree, "G_ema", "synthesis")
        for _ in range(25):
            node = Opaque("training.networks", "X", (), {"_modules": dict(block["_modules"])})
            block["_modules"] = {**block["_modules"], "left": node, "right": node}

    assert "more than 10,000 layers" in change_nvidia(fixtures, change)


def test_a_broken_rosinality_file_is_refused_by_layer(fixtures: Path) -> None:
    tree = read_tree(fixtures / SAMPLES["rosinality"])
    tree["g_ema"]["convs.2.conv.weight"] = torch.zeros(1, 32, 32, 5, 5)
    with pytest.raises(UnreadableFile, match=r"b16\.conv0\.weight has shape \[32, 32, 5, 5\]"):
        rosinality.read(tree, Hints())
    del tree["g_ema"]["convs.2.conv.weight"]
    with pytest.raises(UnreadableFile, match=r"convs\.2\.conv\.weight is missing"):
        rosinality.read(tree, Hints())


def test_a_pickle_of_something_else_says_what_is_read(tmp_path: Path) -> None:
    torch.save(OrderedDict(weight=torch.zeros(3)), tmp_path / "x.pt")
    with pytest.raises(UnreadableFile, match="a dictionary of 'weight', which is none of: snapshot of stylegan2-ada"):
        stylegan.load(tmp_path / "x.pt")


JUNK = [None, True, -1, 10**40, float("nan"), "lrelu", b"", [], {}, (), torch.zeros(3), torch.zeros(2, 3, 3, 3),
        np.zeros(2), torch.zeros(3, dtype=torch.int64), Opaque("a", "b", ()), {"a": 1}, [1, 2]]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in plain values where something else could stand."""
    found, left, seen = [], [value], set()
    while left:
        here = left.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, (dict, list)):
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            found += [(here, key) for key in keys]
            left += [here[key] for key in keys]
        elif isinstance(here, (tuple, Opaque)):
            left += list(here) if isinstance(here, tuple) else [here.args, here.state]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_nonsense_anywhere_is_read_or_refused(name: str, make_file: Callable[[str], Path]) -> None:
    # Whatever stands where a name, number or layer belongs, nothing but our error comes out.
    path, chance, ended = make_file(name), random.Random(4), set()
    for _ in range(12):
        tree = read_tree(path)
        for holder, key in chance.choices(places(tree), k=3):
            holder[key] = chance.choice(JUNK)
        for form in FORMATS.values():
            try:
                if form.recognise(tree):
                    form.read(tree, Hints(path.name))
                    ended.add("read")
            except UnreadableFile:
                ended.add("refused")
    assert ended
