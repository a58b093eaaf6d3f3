from __future__ import annotations

import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from stylegan import faces as faces_module
from stylegan.config import TrainConfig
from stylegan.faces import Faces, decode
from stylegan.loader import DeviceBatches, HostBatches, Loader, Wanted, available_memory, choose_cache, put_planes
from stylegan.phases import batch_parts, rank_rows
from stylegan.random import batch_indices, generator
from stylegan.ranks import Ranks

CPU = torch.device("cpu")


def config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate({"resolution": 16, "batch": 8, "seed": 5, "cache": "none"} | values)


def shard_of(folder: Path, files: list[bytes], labels: list[int] | None = None) -> Path:
    """A shard folder of these picture files, all to train on."""
    folder.mkdir()
    rows = []
    with tarfile.open(folder / "000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, data in enumerate(files):
            info = tarfile.TarInfo(f"{i:04d}_000.png")
            info.size = len(data)
            row = {"id": f"{i:04d}_000", "shard": "000.tar", "offset": tar.offset + 512, "length": len(data)}
            rows.append(row | {"split": "train", "label": labels[i] if labels else -1})
            tar.addfile(info, io.BytesIO(data))
    pandas.DataFrame(rows).to_parquet(folder / "index.parquet")
    return folder


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def a_picture(seed: int, channels: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), dtype=np.uint8)


def test_pictures_have_as_many_channels_as_are_asked_for(tmp_path: Path) -> None:
    grey, bgr, bgra = (a_picture(0, channels) for channels in (1, 3, 4))
    folder = shard_of(tmp_path / "faces", [png(grey), png(bgr), png(bgra)])
    one, two, three, four = (Faces(folder, channels=channels) for channels in (1, 2, 3, 4))
    assert np.array_equal(one.image(0), grey)
    assert np.array_equal(three.image(1), bgr[..., ::-1])
    assert np.array_equal(three.image(0), np.repeat(grey, 3, axis=2))
    assert np.array_equal(four.image(2), bgra[..., [2, 1, 0, 3]])
    assert np.array_equal(four.image(1), np.dstack([bgr[..., ::-1], np.full((8, 8), 255)]))
    assert np.array_equal(two.image(2), np.dstack([cv2.cvtColor(bgra, cv2.COLOR_BGRA2GRAY), bgra[..., 3]]))
    assert np.array_equal(two.image(0)[..., :1], grey)
    luma = bgr[..., ::-1].astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(one.image(1)[..., 0] - luma).max() <= 1
    assert [tuple(f.images([0, 1, 2]).shape) for f in (one, two, three, four)] == [(3, c, 8, 8) for c in (1, 2, 3, 4)]


def test_a_damaged_face_is_named_with_its_shard(tmp_path: Path) -> None:
    data = bytearray(png(a_picture(1, 3)))
    data[len(data) // 2] ^= 1
    faces = Faces(shard_of(tmp_path / "faces", [png(a_picture(0, 3)), bytes(data)]))
    with pytest.raises(ValueError, match=r"000\.tar: face 0001_000 cannot be decoded: write the shards again"):
        faces.images([0, 1])


def test_a_shard_that_ends_early_is_named_with_its_face(tmp_path: Path) -> None:
    folder = shard_of(tmp_path / "faces", [png(a_picture(i, 3)) for i in range(2)])
    shard = folder / "000.tar"
    shard.write_bytes(shard.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"000\.tar ends within face 0001_000"):
        Faces(folder).image(1)


def test_faces_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    faces = Faces(shard_of(tmp_path / "faces", [png(a_picture(0, 3)), png(a_picture(1, 3, size=12))]))
    with pytest.raises(ValueError, match=r"face 0001_000 in .* is 12 x 12 px, others 8 x 8 px"):
        faces.images([0, 1])
    with Loader(faces, config(), CPU) as loader, pytest.raises(ValueError, match=r"is 12 x 12 px, others 8 x 8 px"):
        loader.batch(0, 0, 8)


def test_more_shards_than_may_stay_open_are_read_all_the_same(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Faces(shards).images(range(10))
    monkeypatch.setattr(faces_module, "MOST_OPEN", 0)
    assert torch.equal(Faces(shards).images(range(10)), whole)


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_batches_are_those_of_the_seed_mirrored_by_the_step(shards: Path, cache: str) -> None:
    faces = Faces(shards)
    with Loader(faces, config(cache=cache), CPU) as loader:
        for step in range(12):  # two epochs of 42 faces and some
            pixels = faces.images(batch_indices(5, 8 * step, 8, 42))
            flips = torch.rand(8, generator=generator(5, "mirror", step)) < 0.5
            expected = torch.stack([p.flip(2) if f else p for p, f in zip(pixels, flips, strict=True)])
            batch = loader.batch(8 * step, step, 8)
            assert torch.equal(batch.pixels, expected)
            assert batch.pixels.dtype == torch.uint8
            assert batch.labels is None


def test_a_loader_that_begins_in_the_middle_goes_on_alike(shards: Path) -> None:
    with Loader(Faces(shards), config(), CPU) as first, Loader(Faces(shards), config(), CPU) as second:
        shown = [first.batch(8 * step, step, 8).pixels for step in range(6)]
        assert torch.equal(second.batch(40, 5, 8).pixels, shown[5])


def test_steps_of_another_batch_show_what_follows(shards: Path) -> None:
    with Loader(Faces(shards), config(mirror=False), CPU) as loader:
        pixels = torch.cat([loader.batch(*ask).pixels for ask in ((0, 0, 8), (8, 1, 4), (12, 2, 4), (16, 3, 26))])
        assert torch.equal(pixels, loader.faces.images(batch_indices(5, 0, 42, 42)))


def test_ranks_share_out_the_batch_of_one(shards: Path) -> None:
    with Loader(Faces(shards), config(), CPU) as whole, Loader(Faces(shards), config(), CPU) as part:
        for step in range(6):
            pixels = whole.batch(8 * step, step, 8).pixels
            joined = torch.empty_like(pixels)
            for rank in range(2):
                rows = rank_rows(batch_parts(8, 4, 4, Ranks(rank, 2)))
                joined[rows] = part.batch(8 * step, step, 8, rows).pixels
            assert torch.equal(joined, pixels)


def test_two_replicas_interleave_to_one_order_as_the_references_do(fixtures: Path) -> None:
    with np.load(fixtures / "infinite_sampler.npz") as a:
        assert np.array_equal(
            np.stack([a["n37_seed0_rank0of2"], a["n37_seed0_rank1of2"]], axis=1).ravel(), a["n37_seed0"]
        )
    # The reference shuffles within a window of an endless order; here every epoch of 37 is a permutation of its own.
    order = torch.cat([batch_indices(0, start, 8, 37) for start in range(0, 37 * 8, 8)])
    shares = [rank_rows(batch_parts(8, 4, 1, Ranks(rank, 2))) for rank in range(2)]
    by_rank = [torch.cat([batch_indices(0, s, 8, 37)[rows] for s in range(0, 37 * 8, 8)]) for rows in shares]
    joined = torch.empty_like(order)
    for rows, seen in zip(shares, by_rank, strict=True):
        joined.reshape(-1, 8)[:, rows] = seen.reshape(-1, len(rows))
    assert torch.equal(joined, order)
    assert all(torch.equal(epoch.sort().values, torch.arange(37)) for epoch in order.split(37))


def test_a_data_set_smaller_than_a_batch_is_shown_again_within_it(tmp_path: Path) -> None:
    faces = Faces(shard_of(tmp_path / "faces", [png(a_picture(i, 3)) for i in range(3)]))
    for cache in ("none", "ram"):
        with Loader(faces, config(cache=cache, mirror=False), CPU) as loader:
            assert torch.equal(loader.batch(0, 0, 8).pixels, faces.images(batch_indices(5, 0, 8, 3)))


def test_faces_kept_in_memory_are_not_read_again(tmp_path: Path) -> None:
    folder = shard_of(tmp_path / "faces", [png(a_picture(i, 3)) for i in range(14)])
    with Loader(Faces(folder), config(cache="ram", mirror=False), CPU) as loader:
        epochs = [torch.cat([loader.batch(7 * i, i, 7).pixels for i in (2 * e, 2 * e + 1)]) for e in range(2)]
        (folder / "000.tar").write_bytes(b"")
        epochs.append(torch.cat([loader.batch(7 * i, i, 7).pixels for i in (4, 5)]))
    by_face = [pixels[batch_indices(5, 14 * e, 14, 14).argsort()] for e, pixels in enumerate(epochs)]
    assert torch.equal(by_face[0], by_face[1])
    assert torch.equal(by_face[0], by_face[2])


def test_a_damaged_face_stops_the_step_that_shows_it_and_no_other(tmp_path: Path) -> None:
    files = [png(a_picture(i, 3)) for i in range(24)]
    last = int(batch_indices(5, 0, 24, 24)[-1])
    files[last] = files[last][:-30]
    with Loader(Faces(shard_of(tmp_path / "faces", files)), config(), CPU) as loader:
        for step in range(2):
            loader.batch(8 * step, step, 8)
        with pytest.raises(ValueError, match=f"face {last:04d}_000 cannot be decoded"):
            loader.batch(16, 2, 8)


def test_labels_come_as_one_hot_rows_of_the_faces_shown(tmp_path: Path) -> None:
    labels = [i % 3 for i in range(12)]
    faces = Faces(shard_of(tmp_path / "faces", [png(a_picture(i, 3)) for i in range(12)], labels))
    with Loader(faces, config(network={"num_labels": 3}), CPU) as loader:
        batch = loader.batch(8, 1, 8)
    shown = torch.tensor(labels)[batch_indices(5, 8, 8, 12)]
    assert batch.labels is not None
    assert torch.equal(batch.labels, torch.eye(3)[shown])


def test_missing_labels_are_counted_and_the_first_face_named(tmp_path: Path) -> None:
    folder = shard_of(tmp_path / "faces", [png(a_picture(i, 3)) for i in range(4)], [0, 1, -1, 5])
    with pytest.raises(ValueError, match=r"2 of 4 faces .* no label from 0 to 2, first face 0002_000 \(label -1\)"):
        Loader(Faces(folder), config(network={"num_labels": 3}), CPU)


def test_where_decoded_faces_are_kept_follows_the_memory_and_is_said(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_cache("auto", 1000, CPU).where == "ram"
    assert choose_cache("auto", 10**15, CPU).where == "none"
    assert choose_cache("none", 1000, CPU).where == "none"
    with pytest.raises(ValueError, match="cache is device, but the training is on cpu"):
        choose_cache("device", 1000, CPU)
    Loader(Faces(shards), config(cache="auto"), CPU).close()
    assert "decoded faces are kept: ram (0.00 GB decoded, " in capsys.readouterr().out


def test_available_memory_heeds_the_limit_of_a_container(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 100 kB\nMemAvailable:      64 kB\n")
    assert available_memory(tmp_path) == 65536
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n"), (group / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path) == 65536
    (group / "memory.max").write_text("9000\n")
    assert available_memory(tmp_path) == 8000


def test_the_loader_says_how_fast_it_is_by_itself(shards: Path) -> None:
    with Loader(Faces(shards), config(), CPU) as loader:
        assert loader.speed().samples_per_second == 0
        for step in range(5):
            loader.batch(8 * step, step, 8)
        speed = loader.speed()
        assert 10 < speed.samples_per_second < 1e7
        assert speed.waited > 0
        assert loader.speed() == (0, 0)


def test_batches_put_together_on_a_device_are_those_of_the_host(shards: Path) -> None:
    faces = Faces(shards)
    random, shape = np.random.default_rng(0), (16, 16, 3)
    host, device = HostBatches(faces, shape, CPU, keep=False), DeviceBatches(faces, shape, CPU)
    with ThreadPoolExecutor(2) as pool:
        wanted = [Wanted(random.integers(0, 42, 8), random.random(8) < 0.5) for _ in range(20)]
        ahead = [device.begin(each, pool, 2) for each in wanted[:2]]  # that wish for some of the same faces
        for number, each in enumerate(wanted):
            expected = host.begin(each, pool, 2)
            ahead += [device.begin(more, pool, 2) for more in wanted[number + 2 : number + 3]]
            for part in [*expected.parts, *ahead[number].parts]:
                part.result()
            assert torch.equal(device.end(ahead[number]), host.end(expected))


@pytest.mark.gpu
def test_faces_kept_on_the_device_are_those_of_the_shards(shards: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    faces, cuda = Faces(shards), torch.device("cuda")
    with Loader(faces, config(), CPU) as plain, Loader(faces, config(cache="device"), cuda) as kept:
        for step in range(12):
            assert torch.equal(kept.batch(8 * step, step, 8).pixels.cpu(), plain.batch(8 * step, step, 8).pixels)


def real_jpegs(realdata: Path, part: str, count: int) -> list[bytes]:
    with zipfile.ZipFile(realdata / part) as archive:
        return [archive.read(name) for name in archive.namelist()[:count]]


@pytest.mark.parametrize("part", ["aligned_human_128/part-00.zip", "anime_faces_96/part-00.zip"])
def test_real_jpegs_have_the_pixels_that_pillow_and_opencv_give_them(realdata: Path, part: str) -> None:
    for data in real_jpegs(realdata, part, 150):
        with Image.open(io.BytesIO(data)) as picture:
            pillows, grey = np.asarray(picture.convert("RGB")), picture.mode == "L"
            picture.draft("L", None)
            pillows_grey = np.asarray(picture.convert("L"))
        ours = decode(data, 3)
        opencvs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(ours, pillows)
        assert np.array_equal(ours, opencvs)
        if grey:
            assert np.array_equal(decode(data, 1)[..., 0], pillows_grey)  # type: ignore[index]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_has_pillows_pixels(subsampling: int, progressive: bool) -> None:
    pixels, out = cv2.GaussianBlur(a_picture(3, 3, size=61), (5, 5), 0), io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=83, subsampling=subsampling, progressive=progressive)
    assert np.array_equal(decode(out.getvalue(), 3), np.asarray(Image.open(out)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_coloured_jpegs_give_as_many_channels_as_are_asked_for(channels: int) -> None:
    for mode in ("L", "RGB"):
        out = io.BytesIO()
        Image.fromarray(a_picture(4, 3, size=16)).convert(mode).save(out, "JPEG", quality=95)
        picture = decode(out.getvalue(), channels)
        assert picture is not None
        assert picture.shape == (16, 16, channels)
        if channels in (2, 4):
            assert (picture[..., -1] == 255).all()
        if mode == "L":
            assert np.array_equal(picture[..., 0], np.asarray(Image.open(out)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_was_cut_off_is_damaged_whatever_its_format(format: str) -> None:
    out = io.BytesIO()
    Image.fromarray(a_picture(5, 3, size=64)).save(out, format, lossless=True)
    data = out.getvalue()
    assert decode(data, 3) is not None
    for end in (0, 10, len(data) // 2, len(data) - 20):
        assert decode(data[:end], 3) is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_planes_are_the_picture_or_its_mirror_image(channels: int) -> None:
    picture, planes = a_picture(0, channels, size=6), np.empty((channels, 6, 6), np.uint8)
    put_planes(picture, False, planes)
    assert np.array_equal(planes, picture.transpose(2, 0, 1))
    put_planes(picture, True, planes)
    assert np.array_equal(planes, picture[:, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_a_batch_that_was_given_stays_as_it_is(shards: Path, cache: str) -> None:
    with Loader(Faces(shards), config(cache=cache), CPU) as loader:
        first = loader.batch(0, 0, 8).pixels
        copy = first.clone()
        for step in range(1, 8):
            loader.batch(8 * step, step, 8)
        assert torch.equal(first, copy)
