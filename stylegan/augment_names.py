"""The transformations of adaptive discriminator augmentation by name, without torch: what a config may ask for."""

from __future__ import annotations

from collections.abc import Iterable

# Each with its group, in the order in which they are applied (Karras et al. 2020, arXiv:2006.06676, appendix B).
TRANSFORMS = {
    "xflip": "blit",
    "rotate90": "blit",
    "xint": "blit",
    "scale": "geometry",
    "rotate": "geometry",
    "aniso": "geometry",
    "xfrac": "geometry",
    "brightness": "colour",
    "contrast": "colour",
    "lumaflip": "colour",
    "hue": "colour",
    "saturation": "colour",
    "imgfilter": "filter",
    "noise": "corruption",
    "cutout": "corruption",
}

# The paper's sets of groups, which its figures compare; b, g, c, f, n, c are the groups' initials.
SETS = {
    "bg": ("blit", "geometry"),
    "bgc": ("blit", "geometry", "colour"),
    "bgcf": ("blit", "geometry", "colour", "filter"),
    "bgcfn": ("blit", "geometry", "colour", "filter", "noise"),
    "bgcfnc": ("blit", "geometry", "colour", "filter", "corruption"),
}


def transform_names(asked: Iterable[str]) -> tuple[str, ...]:
    """The transformations that names, groups and sets of groups stand for, each once, in the order of application."""
    wanted: set[str] = set()
    for name in asked:
        members = SETS.get(name, (name,))
        found = {t for t, group in TRANSFORMS.items() if t in members or group in members}
        if not found:
            groups = dict.fromkeys(TRANSFORMS.values())
            raise ValueError(
                f"augment.transforms holds {name!r}, which is no transformation: choose of {', '.join(TRANSFORMS)}, "
                f"of the groups {', '.join(groups)}, or of the sets {', '.join(SETS)}"
            )
        wanted |= found
    return tuple(t for t in TRANSFORMS if t in wanted)
