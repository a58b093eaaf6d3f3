"""Contact sheets: where each picture and caption lands."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.sheet import GROUND, sheet


def test_pictures_land_row_by_row_whole_and_in_their_own_colours() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (90, 0, 90)]
    images = [np.full((40, 20 + 20 * (index % 2), 3), colour, np.uint8) for index, colour in enumerate(colours)]
    found = sheet(images, columns=3, tile=64)
    gap = 2
    assert found.shape == (2 * (64 + gap) + gap, 3 * (64 + gap) + gap, 3)
    for index, colour in enumerate(colours):
        y, x = (gap + place * (64 + gap) + 32 for place in divmod(index, 3))
        assert tuple(found[y, x]) == colour
        assert tuple(found[y, x - 28]) == (GROUND if index % 2 == 0 else colour)  # narrow ones are not stretched
    assert tuple(found[-10, -10]) == GROUND


def test_captions_stand_under_their_pictures_and_long_ones_stay_in_their_column() -> None:
    images = [np.full((50, 50, 3), 200, np.uint8)] * 2
    plain, found = sheet(images, 2, tile=100), sheet(images, 2, ["", "W" * 300], tile=100)
    assert found.shape[0] > plain.shape[0]
    inked = np.argwhere((found < 128).all(axis=2))
    gap = 3
    assert len(inked) > 100
    assert inked[:, 0].min() >= gap + 100
    assert inked[:, 1].min() >= 2 * gap + 100
    assert inked[:, 1].max() < 2 * gap + 200


def test_a_sheet_of_nothing_is_empty_and_a_missing_caption_is_an_error() -> None:
    assert (sheet([], 4, tile=32) == GROUND).all()
    with pytest.raises(ValueError, match="1 images but 2 captions"):
        sheet([np.zeros((4, 4, 3), np.uint8)], 4, ["a", "b"])
