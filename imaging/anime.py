"""Drawn faces by vote: nagadomi's cascade and YuNet look at a picture and at its mirror image, small.

The cascade alone misses what is tilted, hidden or drawn flat; YuNet, made for photographs, is unsure of drawings but
sees many of those. What neither would dare to say alone they say together.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.cascades import ANIME_CASCADE, raw_hits
from imaging.decode import Image8
from imaging.detection import Assets, DetectConfig, Hit, Sight, search_scale, shrink
from imaging.yunet import YUNET, yunet_rows

# (longer side in px at most, mirrored) of each look, found on anime_illustrations of the test pack; see docs/crop.md.
CASCADE_LOOKS = ((280, False), (280, True))
YUNET_LOOKS = ((240, True), (480, False))
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
    sight = _look(sight, config, CASCADE_WINDOW, LONGEST)
    looks = [_cascade_look(sight, config, assets, *look) for look in CASCADE_LOOKS]
    looks += [_yunet_look(sight, config, assets, *look) for look in YUNET_LOOKS]
    votes = np.concatenate(looks)
    least = MIN_VOTES if config.min_score is None else config.min_score
    found = [one for one in _apart(_faces(votes)) if one[3] >= least and one[2] >= config.min_size]
    return [Hit(x - side / 2, y - side / 2, side, side, round(score, 4)) for x, y, side, score in found]


def _cascade_look(sight: Sight, config: DetectConfig, assets: Assets, longest: int, mirrored: bool) -> Votes:
    seen = _look(sight, config, CASCADE_WINDOW, longest)
    x, y, side = raw_hits(
        _turned(seen.image, mirrored), config, assets[ANIME_CASCADE], SMALLER * config.min_size * seen.scale
    ).T
    return _votes(seen, mirrored, x + side / 2, y + side / 2, side, np.ones(len(side)))


def _yunet_look(sight: Sight, config: DetectConfig, assets: Assets, longest: int, mirrored: bool) -> Votes:
    seen = _look(sight, config, YUNET_WINDOW, longest)
    rows = yunet_rows(_turned(seen.image, mirrored), str(assets[YUNET]), YUNET_LEAST).astype(np.float64)
    x, y, width, height = rows[:, :4].T
    side = np.sqrt(width * height) / YUNET_SIDE
    return _votes(seen, mirrored, x + width / 2, y + height / 2, side, YUNET_VOTES * rows[:, 14])


def _look(sight: Sight, config: DetectConfig, window: float, longest: int) -> Sight:
    return shrink(sight, min(search_scale(sight.size, config, window), longest / max(sight.size)))


def _turned(image: Image8, mirrored: bool) -> Image8:
    return np.asarray(cv2.flip(image, 1), np.uint8) if mirrored else image


def _votes(seen: Sight, mirrored: bool, x: Numbers, y: Numbers, side: Numbers, weight: Numbers) -> Votes:
    """Windows found in what is seen, or in its mirror image, in px of the picture."""
    places = np.stack([seen.image.shape[1] - x if mirrored else x, y, side], axis=1)
    return np.concatenate([places / seen.scale, weight[:, None]], axis=1)


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
