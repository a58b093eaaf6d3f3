"""Networks in ncnn's files: read whole or refused by name, and run as Tencent's own ncnn runs them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from imaging.ncnn_file import KINDS, layers_text, read_layers, read_network
from imaging.ncnn_net import RULES, Network, geometry_of
from imaging.resample import resample
from imaging.waifu2x import Loaded, NetworkFiles, enlarge, file_stem, load_network
from tests.imaging.ncnn_graphs import Graph, cunet, upconv7


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    return resample(noise, 70)


def ours_and_theirs(files: NetworkFiles, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pytest.importorskip("ncnn", reason="the package ncnn is what the networks are compared with")
    ours, theirs = (enlarge([image], load_network(files, backend), 64)[0] for backend in ("torch", "ncnn"))
    return ours, theirs


@pytest.mark.parametrize(("scale", "margin", "step"), [(2, 18, 2), (1, 28, 4)])
def test_cunet_has_the_geometry_that_waifu2x_states(tmp_path: Path, scale: int, margin: int, step: int) -> None:
    assert geometry_of(read_network(*cunet(scale).write(tmp_path, "net"))) == (scale, margin, step, False)


def test_upconv7_has_the_geometry_that_waifu2x_states(tmp_path: Path) -> None:
    assert geometry_of(read_network(*upconv7().write(tmp_path, "net"))) == (2, 7, 1, True)


@pytest.mark.parametrize("scale", [2, 1])
@pytest.mark.parametrize("side", [70, 61])
def test_cunet_is_what_ncnn_makes_of_it(tmp_path: Path, picture: np.ndarray, scale: int, side: int) -> None:
    ours, theirs = ours_and_theirs(cunet(scale).write(tmp_path, "net"), picture[:side, :side])
    assert ours.shape == (scale * side, scale * side, 3)
    assert ours.std() > 5
    assert ((ours > 0) & (ours < 255)).mean() > 0.8  # not agreement on black and white
    assert np.abs(ours.astype(int) - theirs).mean() < 0.01
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_the_real_upconv7_is_what_ncnn_makes_of_it(realdata: Path, picture: np.ndarray) -> None:
    stem = realdata / "assets/waifu2x_upconv7_anime_scale2x"
    ours, theirs = ours_and_theirs(NetworkFiles(stem.with_suffix(".param"), stem.with_suffix(".bin")), picture)
    assert np.abs(ours.astype(int) - theirs).mean() < 0.01
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_16_bits_stay_within_one_level_on_average(realdata: Path, tmp_path: Path, picture: np.ndarray) -> None:
    stem = realdata / "assets/waifu2x_upconv7_anime_scale2x"
    for files in (NetworkFiles(stem.with_suffix(".param"), stem.with_suffix(".bin")), cunet(2).write(tmp_path, "net")):
        exact, short = (enlarge([picture], load_network(files, b), 64)[0].astype(int) for b in ("torch", "torch-bf16"))
        assert np.abs(exact - short).mean() < 0.5
        assert np.abs(exact - short).max() <= 3


@pytest.mark.parametrize("halves", [True, False])
def test_weights_of_16_and_of_32_bits_are_read(tmp_path: Path, halves: bool) -> None:
    graph = Graph(halves=halves)
    graph.conv(graph.conv("input", 5, 3), 3, 4, 2, "", up=True)
    layers = read_network(*graph.write(tmp_path, "net"))
    expected = np.random.default_rng(0).normal(0, np.sqrt(1.6 / 27), 5 * 27).reshape(5, 3, 3, 3)
    assert layers[1].weight is not None
    np.testing.assert_allclose(layers[1].weight, expected, rtol=2e-3 if halves else 1e-6, atol=1e-4 if halves else 0)


def test_layers_that_stand_alone_do_what_the_fused_ones_do(tmp_path: Path) -> None:
    def network(fused: bool, name: str) -> Network:
        graph, slope = Graph(), "9=2 -23310=1,0.1"
        blob = graph.conv("input", 8, 3, act=slope if fused else "")
        blob = blob if fused else graph.add("ReLU", [blob], 8, "0=0.1")
        factors = graph.dense(graph.add("Pooling", [blob], 8, "0=1 4=1"), 8, 4 if fused else 0)
        factors = factors if fused else graph.add("Sigmoid", [factors], 8)
        blob = graph.add("Scale", [blob, factors], 8, "0=-233")
        pair = [blob, graph.conv("input", 8, 3)]
        blob = graph.add("Eltwise", pair, 8, "0=1") if fused else graph.add("BinaryOp", pair, 8, "0=0")
        graph.conv(blob, 3, 3, act="")
        return Network(read_network(*graph.write(tmp_path, name)))

    images = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(True, "a")(images), network(False, "b")(images))


def test_blobs_are_joined_and_multiplied_channel_by_channel(tmp_path: Path) -> None:
    graph = Graph(halves=False)
    left, right = graph.conv("input", 2, 3, act=""), graph.conv("input", 1, 3, act="")
    joined = graph.add("Concat", [left, right], 3)
    graph.add("BinaryOp", [joined, graph.conv("input", 3, 3, act="")], 3, "0=2")
    layers = read_network(*graph.write(tmp_path, "net"))
    images = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    made = [
        functional.conv2d(images, torch.from_numpy(one.weight), torch.from_numpy(one.bias))
        for one in layers
        if one.weight is not None and one.bias is not None
    ]
    torch.testing.assert_close(Network(layers)(images), torch.cat(made[:2], 1) * made[2])


def test_a_whole_number_of_32_bits_is_a_slope_by_its_bits_and_a_small_one_by_its_value(tmp_path: Path) -> None:
    for text, expected in (("1036831949", 0.1), ("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-1", 0.1)):
        path = tmp_path / "relu.param"
        path.write_text(f"7767517\n2 2\nInput i 0 1 i\nReLU r 1 1 i r 0={text}\n")
        assert read_layers(path)[1].real(0) == pytest.approx(expected)


def test_layers_written_again_are_the_same_layers(tmp_path: Path) -> None:
    files = cunet(2).write(tmp_path, "net")
    layers = read_layers(files.param)
    (tmp_path / "again.param").write_text(layers_text(layers))
    again = read_layers(tmp_path / "again.param")
    assert [one[:4] for one in again] == [one[:4] for one in layers]
    assert [one.real(10) for one in again] == pytest.approx([one.real(10) for one in layers])


def test_a_network_that_looks_at_the_whole_is_not_tiled(tmp_path: Path, picture: np.ndarray) -> None:
    network = load_network(cunet(2).write(tmp_path, "net"), "torch")
    whole, tiled = (enlarge([picture], network, tile)[0] for tile in (1024, 16))
    np.testing.assert_array_equal(whole, tiled)


def test_a_batch_is_its_images_one_by_one(tmp_path: Path, picture: np.ndarray) -> None:
    network: Loaded = load_network(upconv7().write(tmp_path, "net"), "torch")
    images = [picture, picture[::-1].copy(), picture[:, ::-1].copy()]
    together = enlarge(images, network._replace(batch=2), 32)
    for image, found in zip(images, together, strict=True):
        assert np.abs(found.astype(int) - enlarge([image], network, 32)[0]).max() <= 1


def test_every_kind_that_is_read_can_be_run() -> None:
    assert set(KINDS) == {"Input", *RULES}


def test_files_are_called_as_nihui_calls_them() -> None:
    assert file_stem(-1, 2) == "scale2.0x_model"
    assert file_stem(3, 2) == "noise3_scale2.0x_model"
    assert file_stem(0, 1) == "noise0_model"
    with pytest.raises(ValueError, match="only removes noise"):
        file_stem(-1, 1)


PARAM = "7767517\n3 3\nInput i 0 1 i\nConvolution c 1 1 i c 0=8 1=3 5=1 6=216\nDeconvolution d 1 1 c d 0=3 1=4 3=2 4=3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PK\x03\x04", "line 1"),
        ("7767517\n9 9\nInput i 0 1 i", "line 2"),
        ("7767517\n1 1\nInput i 0 one i", "layer 1"),
        ("7767517\n1 1\nInput i 0 5 i", "not all named"),
        ("7767517\n2 2\nInput i 0 1 i\nWarp w 1 1 i w", "layer w .Warp.: unknown kind"),
        ("7767517\n2 2\nInput i 0 1 i\nReLU r 1 1 j r", "layer r .ReLU.: reads j"),
        ("7767517\n2 2\nInput i 0 1 i\nReLU r 1 1 i r 0=nan.", "could not convert"),
        ("7767517\n2 2\nInput i 0 1 i\nReLU r 1 1 i r -23310=3,1", "states 3 values"),
        ("7767517\n2 2\nInput i 0 1 i\nConvolution c 1 1 i c 0=8 1=3 6=215", "215 weights for 8 outputs"),
        ("7767517\n2 2\nInput i 0 1 i\nConvolution c 1 1 i c 0=8 1=3 6=2000000000", "cut off|weights for"),
        (PARAM.replace("0=8", "0=-8") + " 5=1 6=384\n", "layer c"),
        (PARAM.replace("1=3 5", "1=3 2=2 5") + " 5=1 6=384\n", "key 2 is 2"),
        (PARAM + " 5=1 6=480\n", "layer d .Deconvolution."),
        (PARAM.replace("i c 0=8 1=3", "i c 0=8 1=3 9=5") + " 5=1 6=384\n", "activation 5"),
    ],
)
def test_odd_layers_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    files = upconv7().write(tmp_path, "net")
    graph = Graph()
    graph.conv(graph.conv("input", 8, 3), 3, 4, 2, "", up=True)
    files.weights.write_bytes((graph.data + bytes(5000) * ("480" in text)) * ("Convolution" in text))
    files.param.write_text(text)
    with pytest.raises(ValueError, match=words):
        load_network(NetworkFiles(files.param, files.weights), "torch")


def test_weights_that_do_not_fit_are_refused_with_file_and_layer(tmp_path: Path) -> None:
    files = upconv7().write(tmp_path, "net")
    data = files.weights.read_bytes()
    for content, words in (
        (data[:-1], "net.bin does not fit net.param: layer Deconvolution7 .* cut off"),
        (data + b"x", f"holds {len(data) + 1} bytes, the layers of net.param take {len(data)}"),
        (b"PK\x03\x04" + data[4:], "layer Convolution1 .* tag 0x04034b50"),
        (b"", "the end of the file"),
        (data[:4] + b"\x00\x7e" + data[6:], "not finite"),
    ):
        files.weights.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            read_network(*files)


def test_mutated_files_are_refused_or_run_but_never_worse(tmp_path: Path) -> None:
    chance = random.Random(0)
    files = cunet(2).write(tmp_path, "net")
    text, data = files.param.read_bytes(), files.weights.read_bytes()
    odd = NetworkFiles(tmp_path / "odd.param", tmp_path / "odd.bin")
    refused = []
    for _ in range(300):
        param, weights = bytearray(text), data
        for _ in range(chance.randint(1, 4)):
            param[chance.randrange(len(param))] = chance.choice(b"0123456789-= \n.,eabAZ\xff")
        if chance.random() < 0.2:
            weights = data[: chance.randrange(len(data))]
        odd.param.write_bytes(param)
        odd.weights.write_bytes(weights)
        try:
            network = load_network.__wrapped__(odd, "torch")
            enlarge([np.zeros((20, 20, 3), np.uint8)], network, 32)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all("odd." in text for text in refused)
