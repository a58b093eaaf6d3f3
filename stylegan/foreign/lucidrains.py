"""lucidrains/stylegan2-pytorch (`model_1.pt`): recognised, and refused with the reason.

Its networks are not a StyleGAN2 under other names, so no renaming can make the images equal.
"""

from __future__ import annotations

from typing import Any

from stylegan.foreign.donor import Donor, Hints
from stylegan.foreign.records import UnreadableFile

DIFFERENCES = (
    "leaky ReLU without its gain of sqrt(2)",
    "z scaled to length 1 instead of sqrt(z_dim)",
    "layers without equalised learning rate",
    "one noise picture for all layers, through a dense layer that also holds the only bias",
    "features and colours upsampled bilinearly",
)


def recognise(tree: Any) -> bool:
    """Whether a file's values are a checkpoint of this project."""
    weights = tree.get("GAN") if isinstance(tree, dict) else None
    return isinstance(weights, dict) and any(isinstance(name, str) and ".to_noise1." in name for name in weights)


def read(tree: Any, hints: Hints) -> Donor:
    """Raise UnreadableFile with what differs."""
    raise UnreadableFile(
        "lucidrains' networks are no StyleGAN2 under other names, so their images cannot be made equal here: "
        f"{'; '.join(DIFFERENCES)}. Sample them with that project, or train from nothing"
    )
