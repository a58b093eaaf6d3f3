"""CPU seconds of the augmentation pipeline bgc, as it is and in the plain formulation of its geometry.

    python -m benchmarks.augment [--sizes 64,256] [--batch 8] [--repeats 20]

Plain means as the paper tells it: reflect as far as this batch's transformations reach (which makes the host wait for
the device), stuff zeros, filter axis by axis, sample, filter and throw away. Both columns are the fastest of turns
taken one after the other on one thread; the difference is the largest between the two results.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.augment import Augmentation, augment, draw_augmentation
from stylegan.augment_filters import resample, resampling_taps
from stylegan.operators import upfirdn2d


def margins(inverse: Tensor, size: int) -> tuple[int, int, int, int]:
    """Pixels left, right, above and below that the corners of the output reach to, six more for the filters."""
    edge = (size - 1) / 2
    corners = torch.tensor([[-edge, -edge, 1], [edge, -edge, 1], [-edge, edge, 1], [edge, edge, 1]])
    reach = (corners @ inverse[:, :2].transpose(1, 2)).flatten(0, 1)
    x0, y0, x1, y1 = torch.cat([-reach.amin(0), reach.amax(0)]).add(6 - edge).clamp(0, size - 1).ceil().int().tolist()
    return x0, x1, y0, y1


def plain_resample(images: Tensor, inverse: Tensor) -> Tensor:
    """stylegan.augment_filters.resample by padding, zero-stuffing and filtering every pixel."""
    size, taps = images.shape[-1], resampling_taps()
    left, right, top, bottom = margins(inverse, size)
    padded = F.pad(images, (left, right, top, bottom), mode="reflect")
    fine = upfirdn2d(padded, taps[None], up=(2, 1), padding=(6, 5, 0, 0), gain=2.0)
    fine = upfirdn2d(fine, taps[:, None], up=(1, 2), padding=(0, 0, 6, 5), gain=2.0)
    steps = torch.arange(-5, 2 * size + 5) - (size - 1.0)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    output = torch.stack([columns, rows, torch.full_like(rows, 2.0)], dim=2)
    first = torch.tensor([2.0 * left, 2.0 * top]) + (size - 0.5)
    extent = torch.tensor([fine.shape[3], fine.shape[2]])
    positions = 2 * (output.flatten(0, 1) @ inverse[:, :2].transpose(1, 2) + first) / extent - 1
    moved = F.grid_sample(fine, positions.reshape(-1, *output.shape[:2], 2), align_corners=False)
    halved = upfirdn2d(moved, taps[None], down=(2, 1), flip=True)
    return upfirdn2d(halved, taps[:, None], down=(1, 2), flip=True)


def cpu_seconds(resampling: Callable[[Tensor, Tensor], Tensor], images: Tensor, moves: Augmentation) -> float:
    """CPU seconds of the pipeline, forth and back, with this resampling in it."""
    assert moves.geometry is not None
    begun = time.process_time()
    moved = resampling(images, moves.geometry)
    augment(moved, moves._replace(geometry=None)).sum().backward()  # type: ignore[no-untyped-call]
    return time.process_time() - begun


def measure(size: int, batch: int, repeats: int) -> str:
    """A line of the table."""
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor(0.6)
    moves = draw_augmentation(["bgc"], p, (batch, 3, size, size), generator)
    assert moves.geometry is not None
    images = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
    difference = (resample(images, moves.geometry) - plain_resample(images, moves.geometry)).abs().max()
    images.requires_grad_()
    turns = [[cpu_seconds(way, images, moves) for way in (resample, plain_resample)] for _ in range(repeats)]
    own, plain = (min(column) for column in zip(*turns, strict=True))
    return f"{size:5d} px  {own:8.4f} s  plain {plain:8.4f} s  {own / plain:5.2f}x  difference {difference:.1e}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,256", help="px, with commas between")
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--repeats", type=int, default=20, help="turns")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for size in given.sizes.split(","):
        print(measure(int(size), given.batch, given.repeats))


if __name__ == "__main__":
    main()
