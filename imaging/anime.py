"""Drawn faces by vote: nagadomi's cascade and YuNet look at a picture and at its mirror image, small.

The cascade alone misses what is tilted, hidden or drawn flat; YuNet, made for photographs, is unsure of drawings but
sees many of those. What neither would dare to say alone they say together. Faces that fill a picture are found with a
margin around it: a cascade knows no window that is larger than the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.cascades import ANIME_CASCADE, raw_hits
from imaging.decode import Image8
from imaging.detection import Assets, DetectConfig, Hit, Sight, search_scale, shrink
from imaging.yunet import YUNET, yunet_rows


class Look(NamedTuple):
    """One look at a picture: its longer side in px at most, mirrored or not, with a margin for faces that fill it."""

    longest: int
    mirrored: bool
    wide: bool = False


# Chosen on anime_illustrations of the test pack: docs/crop.md says what each is worth.
CASCADE_LOOKS = (Look(280, False), Look(280, True), Look(140, False, wide=True), Look(140, True, wide=True))
YUNET_LOOKS = (Look(240, True), Look(480, False), Look(140, False, wide=True))
MARGIN = 0.25  # of the shorter side, around a wide look
LARGE = 0.6  # of the shorter side: smaller faces do not count in a wide look
LONGEST = 480  # px of the longer side in the finest of them
YUNET_VOTES = 6.0  # votes of a score of 1; a window of the cascade has one
CASCADE_WINDOW, YUNET_WINDOW = 27, 24  # px of the smallest face in their searches
YUNET_LEAST = 0.15
YUNET_SIDE = 0.75  # its box (root of the area) in sides of the cascade's
MIN_VOTES = 2.8
NEAR = 0.25  # distance of the centres of two windows on one face, in sides of the smaller
SMALLER = 0.9  # of min_size: windows that may still belong to a face of that size
ALIKE = 1.45  # ratio of their sides
HIDDEN = 0.5  # share of the smaller of two faces above which it is part of the larger

Numbers = NDArray[np.float64]
Votes = NDArray[np.float64]  # x, y of the centre, side, votes; px of the picture; [N, 4]


def anime(sight: Sight, config: DetectConfig, assets: Assets) -> list[Hit]:
    """Drawn faces with at least min_score votes, most first; the score is the votes."""
    sight = shrink(sight, min(search_scale(sight.size, config, CASCADE_WINDOW), LONGEST / max(sight.size)))
    looks = [_cascade_look(sight, config, assets, look) for look in CASCADE_LOOKS]
    looks += [_yunet_look(sight, config, assets, look) for look in YUNET_LOOKS]
    votes = np.concatenate(looks)
    least = MIN_VOTES if config.min_score is None else config.min_score
    found = [one for one in _apart(_faces(votes)) if one[3] >= least and one[2] >= config.min_size]
    return [Hit(x - side / 2, y - side / 2, side, side, round(score, 4)) for x, y, side, score in found]


def _cascade_look(sight: Sight, config: DetectConfig, assets: Assets, look: Look) -> Votes:
    image, scale, margin = _seen(sight, config, CASCADE_WINDOW, look)
    smallest = max(SMALLER * config.min_size, _least(sight, look)) * scale
    x, y, side = raw_hits(image, config, assets[ANIME_CASCADE], smallest).T
    return _votes(sight, look, np.stack([x + side / 2 - margin, y + side / 2 - margin, side], axis=1) / scale, 1.0)


def _yunet_look(sight: Sight, config: DetectConfig, assets: Assets, look: Look) -> Votes:
    image, scale, margin = _seen(sight, config, YUNET_WINDOW, look)
    rows = yunet_rows(image, str(assets[YUNET]), YUNET_LEAST).astype(np.float64)
    x, y, width, height = rows[:, :4].T
    side = np.sqrt(width * height) / YUNET_SIDE
    places = np.stack([x + width / 2 - margin, y + height / 2 - margin, side], axis=1) / scale
    return _votes(sight, look, places, YUNET_VOTES * rows[:, 14])


def _seen(sight: Sight, config: DetectConfig, window: float, look: Look) -> tuple[Image8, float, int]:
    """The image to look at, its scale, and how many px of margin surround it."""
    small = shrink(sight, min(search_scale(sight.size, config, window), look.longest / max(sight.size)))
    image = np.asarray(cv2.flip(small.image, 1), np.uint8) if look.mirrored else small.image
    if not look.wide:
        return image, small.scale, 0
    margin = round(MARGIN * min(image.shape[:2]))
    around = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    return np.asarray(around, np.uint8), small.scale, margin


def _least(sight: Sight, look: Look) -> float:
    return LARGE * min(sight.size) if look.wide else 0.0


def _votes(sight: Sight, look: Look, places: Numbers, votes: Numbers | float) -> Votes:
    """What counts of a look; places [N, 3] in px of the picture, or of its mirror image."""
    if look.mirrored:
        places = places * [-1, 1, 1] + [sight.size[1], 0, 0]
    found = np.concatenate([places, np.broadcast_to(votes, len(places))[:, None]], axis=1)
    return found[places[:, 2] >= _least(sight, look)]


def _faces(votes: Votes) -> Votes:
    """One row for each bundle of windows: their weighted mean and the sum of their votes, the strongest first."""
    x, y, side, weight = votes.T
    distance = np.hypot(x[:, None] - x, y[:, None] - y) / np.minimum(side[:, None], side)
    near = (distance < NEAR) & (np.abs(np.log(side[:, None] / side)) < np.log(ALIKE))
    left, found = np.ones(len(votes), dtype=bool), []
    while left.any():
        middle = int(np.where(left, (near * (weight * left)).sum(axis=1), -1).argmax())
        bundle = near[middle] & left
        found.append([*np.average(votes[bundle, :3], axis=0, weights=weight[bundle]), weight[bundle].sum()])
        left &= ~bundle
    return np.array(found).reshape(-1, 4)


def _apart(faces: Votes) -> list[list[float]]:
    """The faces with most votes; what lies mostly inside one of them, or around it, is no other face."""
    kept: list[list[float]] = []
    for face in sorted(faces.tolist(), key=lambda row: (-row[3], row)):
        if all(_hidden(face, other) <= HIDDEN for other in kept):
            kept.append(face)
    return kept


def _hidden(a: list[float], b: list[float]) -> float:
    """The shared area of two squares in areas of the smaller."""
    reach = (a[2] + b[2]) / 2
    shorter = min(a[2], b[2])
    across, down = (min(shorter, max(0.0, reach - abs(a[axis] - b[axis]))) for axis in (0, 1))
    return across * down / shorter**2
