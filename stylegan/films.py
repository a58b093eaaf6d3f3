"""FILMS: films of a training and of a model, streamed frame by frame into an mp4 that every browser plays."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.canvas import Image, add_caption, join_tiles, resize_tile
from stylegan.figures import classes_for, make_faces
from stylegan.latents import looping_walk

if TYPE_CHECKING:
    from stylegan.model import Model

SAMPLE_NAME = re.compile(r"fakes-(\d+(?:\.\d+)?)\.(?:png|jpg|webp)")
SMALLEST_SIDE = 480  # px; what a small model makes is shown enlarged


class FilmConfig(BaseModel):
    """What a film shows and how it is encoded; a film ignores the fields it has no use for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=404, ge=0, description="Seed of the random walk.")
    seconds: float = Field(default=60, gt=0, description="Length of the random walk.")
    fps: int = Field(default=20, ge=1, le=120, description="Frames a second of the random walk.")
    columns: int = Field(default=2, ge=1, description="Faces side by side in the random walk.")
    rows: int = Field(default=2, ge=1, description="Rows of faces in the random walk.")
    smoothing_seconds: float = Field(default=1.0, gt=0, description="Standard deviation of the walk's Gaussian.")
    psi: float = Field(default=0.7, description="Truncation in W; at 0 every frame is the mean face.")
    cutoff: int | None = Field(default=None, ge=0, description="Layers that psi acts on; None: all.")
    label: int = Field(default=0, ge=0, description="Class of all faces, for models trained with classes.")
    noise: Literal["const", "none"] = Field(default="const", description="Noise inputs; random ones would flicker.")
    batch_size: int = Field(default=32, ge=1, description="Faces made at once.")
    tile: int | None = Field(default=None, ge=8, description="Side of a face in px; None: the model's resolution.")
    montage_fps: int = Field(default=10, ge=1, le=120, description="Sample grids a second in the montage.")
    hold_seconds: float = Field(default=1.5, ge=0, description="How long the montage rests on its last grid.")
    captions: bool = Field(default=True, description="Whether the montage writes kimg below the grid.")
    crf: int = Field(default=20, ge=0, le=51, description="x264 quality: 18 invisible loss, 33 small file.")
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"] = Field(
        default="medium", description="x264 effort."
    )
    tune: Literal["animation", "film", "none"] = Field(default="none", description="x264 tuning.")
    threads: int = Field(default=2, ge=1, description="x264 threads; fixed, for the bytes depend on it.")


DEFAULT = FilmConfig()


class FilmSubject(NamedTuple):
    """What a film is about: a model, or the folders of the trainings behind it, in order; each says which it needs."""

    model: Model | None = None
    runs: tuple[Path, ...] = ()


class Frames(NamedTuple):
    """A film before it is encoded; `images` are made one by one as they are asked for."""

    size: tuple[int, int]  # width, height in px
    fps: float
    num_frames: int
    images: Iterator[Image]


def training_montage(subject: FilmSubject, config: FilmConfig) -> Frames:
    """The sample grids of trainings in the order of kimg, brought to the largest one's size by repeating pixels.

    A training that went on from the one before it goes on in kimg, too; its first grid, the donor's last, is left out.
    """
    if not subject.runs:
        raise ValueError("the training montage is made from a run's samples: give the run's folder")
    grids = montage_grids(subject.runs)
    width, height = _montage_size([_size(path) for path in grids.values()])
    rest = round(config.hold_seconds * config.montage_fps)

    def images() -> Iterator[Image]:
        for kimg, path in grids.items():
            image = _read(path)
            grid = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
            yield add_caption(grid, f"{kimg:.1f} kimg") if config.captions else grid
        # Counted again rather than kept: the last grid is the frame that is held.
        for _ in range(rest):
            yield add_caption(grid, f"{kimg:.1f} kimg") if config.captions else grid

    blank = np.zeros((height, width, 3), np.uint8)
    frame_height = len(add_caption(blank, "")) if config.captions else height
    return Frames((width, frame_height), config.montage_fps, len(grids) + rest, images())


def random_walk(subject: FilmSubject, config: FilmConfig) -> Frames:
    """A grid of faces that change smoothly and, at the end, into what they were at the beginning.

    psi is applied in W and noise is constant, so at psi = 0 all frames are one picture.
    """
    if subject.model is None:
        raise ValueError("the random walk is made by a model: give a checkpoint or a model file")
    model, tiles = subject.model, config.columns * config.rows
    count = max(2, round(config.seconds * config.fps))
    times = -(-SMALLEST_SIDE // (model.resolution * max(config.columns, config.rows)))
    side = config.tile or model.resolution * times
    z = looping_walk(config.seed, count, tiles, model.z_dim, config.smoothing_seconds * config.fps)

    def images() -> Iterator[Image]:
        faces = _faces(model, z.flatten(0, 1), config)
        for _ in range(count):
            frame = [resize_tile(next(faces), side) for _ in range(tiles)]
            yield join_tiles([frame[i : i + config.columns] for i in range(0, tiles, config.columns)])

    return Frames((side * config.columns, side * config.rows), config.fps, count, images())


FILMS: dict[str, Callable[[FilmSubject, FilmConfig], Frames]] = {
    "training-montage": training_montage,
    "random-walk": random_walk,
}


def make_film(name: str, path: Path, subject: FilmSubject, config: FilmConfig = DEFAULT) -> Path:
    """Make one of FILMS and write it."""
    if name not in FILMS:
        raise ValueError(f"no film is called {name!r}: choose one of {', '.join(FILMS)}")
    frames = FILMS[name](subject, config)
    return write_film(path, frames.images, frames.size, frames.fps, config)


def write_film(
    path: Path, images: Iterable[Image], size: tuple[int, int], fps: float, config: FilmConfig = DEFAULT
) -> Path:
    """Encode pictures [H, W, 3] of one size (width, height) to H.264 in mp4 as they come; the file appears whole.

    yuv420p, which needs even sides: an odd one grows by its last row or column. Raises OSError with the encoder's
    own words where it fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part.mp4")
    try:
        # The encoder's words go to a file: a full pipe that nobody reads would stop it.
        with tempfile.TemporaryFile() as words:
            try:
                _encode(_encoder(part, size, fps, config), images, size, words.fileno())
            except OSError as error:
                raise OSError(f"{path} was not written: {error}") from error
        with part.open("rb") as film:
            os.fsync(film.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def montage_grids(runs: tuple[Path, ...]) -> dict[float, Path]:
    """The sample grids of trainings that went on from one another, by the kimg counted through."""
    grids: dict[float, Path] = {}
    for run in runs:
        found = sample_paths(run / "samples")
        if not found:
            raise ValueError(f"{run / 'samples'} holds no fakes-KIMG.png: has this training reached a sample yet?")
        before = max(grids, default=0.0)
        grids |= {before + float(kimg): path for kimg, path in found.items() if not grids or float(kimg) > 0}
    return grids


def sample_paths(folder: Path) -> dict[str, Path]:
    """A run's sample grids by kimg, as written in their names, in the order of the numbers (9.5 before 10)."""
    found = {match[1]: path for path in folder.glob("fakes-*") if (match := SAMPLE_NAME.fullmatch(path.name))}
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _faces(model: Model, z: Tensor, config: FilmConfig) -> Iterator[Image]:
    """The faces of z [N, z_dim] one by one, made in batches that span frames: small networks need the company."""
    size = min(config.batch_size, len(z))
    # All batches of one size, or a face could differ in its last bit by the batch it falls into.
    z = torch.cat([z, z[: -len(z) % size]])
    classes = classes_for(model, size, config.label)
    for batch in torch.split(z, size):
        yield from make_faces(model, model.map(batch, classes, config.psi, config.cutoff), config.noise, size)


def _encoder(path: Path, size: tuple[int, int], fps: float, config: FilmConfig) -> list[str]:
    """The command that reads raw frames from its standard input."""
    width, height = (side + side % 2 for side in size)
    source = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps)
    colours = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}
    tune = {} if config.tune == "none" else {"tune": config.tune}
    # Untagged films are shown in other colours by different players, so the matrix is chosen and named.
    film = source.filter("scale", out_color_matrix="bt709", out_range="tv", flags="accurate_rnd+full_chroma_int")
    film = film.filter("setparams", color_primaries="bt709", color_trc="bt709")  # raw frames say nothing of it
    output = film.output(
        str(path.absolute()),
        vcodec="libx264",
        pix_fmt="yuv420p",
        crf=config.crf,
        preset=config.preset,
        threads=config.threads,
        movflags="+faststart",
        map_metadata=-1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact"},
        **colours,
        **tune,
    )
    command = output.global_args("-hide_banner", "-loglevel", "error").overwrite_output()
    return list(command.compile(cmd=imageio_ffmpeg.get_ffmpeg_exe()))


def _encode(command: list[str], images: Iterable[Image], size: tuple[int, int], words: int) -> None:
    count = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words) as encoder:
        assert encoder.stdin is not None
        try:
            for image in images:
                encoder.stdin.write(_even(image, size).tobytes())
                count += 1
            encoder.stdin.close()
        except BrokenPipeError:  # the encoder ended early; why, it says below
            with contextlib.suppress(BrokenPipeError):
                encoder.stdin.close()
        except BaseException:
            encoder.kill()
            raise
    if count == 0:
        raise ValueError("a film needs a frame, none came")
    if encoder.returncode:
        os.lseek(words, 0, os.SEEK_SET)
        said = os.read(words, 4000).decode(errors="replace").strip() or "nothing"
        raise OSError(f"ffmpeg ended with {encoder.returncode} after {count} frames; it said: {said}")


def _even(image: Image, size: tuple[int, int]) -> Image:
    if image.shape != (size[1], size[0], 3) or image.dtype != np.uint8:
        raise ValueError(f"a frame is {image.dtype} {image.shape}, expected uint8 {(size[1], size[0], 3)}")
    grow = ((0, size[1] % 2), (0, size[0] % 2), (0, 0))
    return np.pad(image, grow, mode="edge") if size[0] % 2 or size[1] % 2 else image


def _montage_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Width and height of the largest grid, times a whole number where even that one is small."""
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    times = max(1, -(-SMALLEST_SIDE // max(width, height)))
    return width * times, height * times


def _size(path: Path) -> tuple[int, int]:
    image = _read(path)
    return image.shape[1], image.shape[0]


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture: delete it, or copy it again from where it came")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
