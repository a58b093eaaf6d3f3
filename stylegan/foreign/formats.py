"""Which foreign files are read: a name gives how one is recognised and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stylegan.foreign import lucidrains, nvidia, r3gan, rosinality, rosinality_stylegan1, tensorflow
from stylegan.foreign.container import read_tree
from stylegan.foreign.donor import Donor, Hints
from stylegan.foreign.records import UnreadableFile, clip


class Format(NamedTuple):
    """One kind of file."""

    about: str  # for people
    recognise: Callable[[Any], bool]  # by its plain values; False for any values that are not its own
    read: Callable[[Any, Hints], Donor]  # UnreadableFile when it does not fit


FORMATS: dict[str, Format] = {
    "nvidia": Format("snapshot of stylegan2-ada-pytorch or stylegan3, .pkl", nvidia.recognise, nvidia.read),
    "tensorflow": Format("StyleGAN2 of NVIDIA's TensorFlow projects, .pkl", tensorflow.recognise, tensorflow.read),
    "rosinality": Format("rosinality/stylegan2-pytorch, .pt", rosinality.recognise, rosinality.read),
    "rosinality-stylegan1": Format(
        "rosinality/style-based-gan-pytorch, .model", rosinality_stylegan1.recognise, rosinality_stylegan1.read
    ),
    "lucidrains": Format("lucidrains/stylegan2-pytorch, .pt: refused", lucidrains.recognise, lucidrains.read),
    "r3gan": Format("snapshot of R3GAN, .pkl, or its state dicts", r3gan.recognise, r3gan.read),
}


def read_foreign(path: Path, resolution: int | None = None) -> tuple[str, Donor]:
    """The name of a file's format and the networks in it; UnreadableFile with the file and what is wrong.

    resolution: px, for files that do not say how far their training grew.
    """
    tree = read_tree(path)
    found = [name for name, form in FORMATS.items() if form.recognise(tree)]
    if len(found) != 1:
        kinds = "; ".join(form.about for form in FORMATS.values())
        raise UnreadableFile(f"{path}: holds {_contents(tree)}, which is none of: {kinds}")
    try:
        return found[0], FORMATS[found[0]].read(tree, Hints(path.name, resolution))
    except UnreadableFile as error:
        raise UnreadableFile(f"{path} ({found[0]}): {error}") from error


def _contents(tree: Any) -> str:
    if isinstance(tree, dict):
        return "a dictionary of " + ", ".join(clip(key) for key in list(tree)[:6])
    return clip(tree)
