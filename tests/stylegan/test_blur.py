from __future__ import annotations

import pytest
import torch

from stylegan.blur import blur_taps, blurred
from stylegan.config import TrainConfig
from stylegan.operators import upfirdn2d

CONFIG = TrainConfig(resolution=32, batch=8, blur_width=10, blur_kimg=200)
CPU = torch.device("cpu")


def test_the_blur_fades_to_nothing() -> None:
    widths = []
    for kimg in (0, 50, 100, 150):
        taps = blur_taps(CONFIG, kimg * 1000, CPU)
        assert taps is not None
        assert (len(taps), float(taps.sum())) == (61, pytest.approx(1))
        widths.append(int((taps > 0).sum()))
    assert widths == [61, 45, 31, 15]  # 2 floor(3 sigma) + 1, sigma 10, 7.5, 5, 2.5
    assert blur_taps(CONFIG, 200_000, CPU) is None
    assert blur_taps(TrainConfig(resolution=32), 0, CPU) is None


def test_the_blur_is_the_plain_filter_on_both_axes() -> None:
    taps = blur_taps(CONFIG.model_copy(update={"blur_width": 2.5}), 0, CPU)
    assert taps is not None
    x = torch.arange(-7, 8)
    expected = torch.exp2(-((x / 2.5) ** 2))
    torch.testing.assert_close(taps, expected / expected.sum())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = upfirdn2d(images, torch.outer(taps, taps), padding=(7, 7, 7, 7))
    torch.testing.assert_close(blurred(images, taps), plain, rtol=1e-4, atol=1e-5)
