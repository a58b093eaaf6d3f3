"""A blur of all that the discriminator sees, which fades out: StyleGAN3-R's first steps would go astray without it.

Karras et al. 2021 (arXiv:2106.12423), of their configuration R: without detail to judge by, the discriminator cannot
make the generator's early layers cheat.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config import TrainConfig

REACH = 3  # half the filter's length over its width


def blur_taps(config: TrainConfig, images_seen: int, device: torch.device) -> Tensor | None:
    """The filter along either axis after so many images, taps of sum one; None when the blur is over.

    Its length is that of the widest one, the first, whatever its width: so a compiled graph stays the same.
    """
    width = config.blur_width * max(1 - images_seen / (config.blur_kimg * 1000), 0.0)
    if config.blur_width == 0 or width * REACH < 1:
        return None
    longest = int(config.blur_width * REACH)
    x = torch.arange(-longest, longest + 1, dtype=torch.float32)
    taps = torch.exp2(-((x / width) ** 2)) * (x.abs() <= int(width * REACH))
    return (taps / taps.sum()).to(device)


def blurred(images: Tensor, taps: Tensor) -> Tensor:
    """Images [N, C, H, W] under the filter, along rows and then along columns; there is black beyond the edges."""
    weight = taps.to(images.dtype).expand(images.shape[1], 1, 1, -1)
    reach = len(taps) // 2
    rows = F.conv2d(images, weight, padding=(0, reach), groups=images.shape[1])
    return F.conv2d(rows, weight.mT, padding=(reach, 0), groups=images.shape[1])
