"""Latent codes for pictures and films: by seed, along the sphere, and on a walk that ends where it began."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def seed_latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One latent a seed, float32 [N, z_dim]; the numbers are those that NVIDIA's scripts draw for these seeds."""
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float()


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great circle from a [z_dim] to b [z_dim] at t [T] in [0, 1], [T, z_dim].

    Shoemake 1985. Lengths are interpolated apart from directions: the ends are a and b themselves. Opposite or
    equal directions have no one great circle, there the way is straight.
    """
    length_a, length_b = a.norm(), b.norm()
    t = t[:, None].to(a)
    angle = torch.acos(((a / length_a) @ (b / length_b)).clamp(-1, 1))
    if torch.sin(angle) < 1e-4:
        return torch.lerp(a.expand(len(t), -1), b.expand(len(t), -1), t)
    share_a, share_b = torch.sin((1 - t) * angle) / torch.sin(angle), torch.sin(t * angle) / torch.sin(angle)
    point: Tensor = (share_a * a / length_a + share_b * b / length_b) * torch.lerp(length_a, length_b, t)
    return point


def looping_walk(seed: int, num_frames: int, num_walkers: int, z_dim: int, smoothing: float) -> Tensor:
    """Smooth random walks that close on themselves, float32 [num_frames, num_walkers, z_dim].

    White noise under a Gaussian of `smoothing` frames (standard deviation) that wraps around from the last frame to
    the first; every latent is then scaled to a root mean square of 1, as a sample of the normal distribution has.
    """
    noise = np.random.RandomState(seed).randn(num_frames, num_walkers * z_dim)
    # Convolution on a circle is a product of spectra; the Gaussian's spectrum is a Gaussian.
    spectrum = np.exp(-2 * (np.pi * np.fft.rfftfreq(num_frames) * smoothing) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(noise, axis=0) * spectrum[:, None], n=num_frames, axis=0)
    z = smooth.reshape(num_frames, num_walkers, z_dim)
    return torch.from_numpy(z / np.sqrt(np.mean(z**2, axis=2, keepdims=True))).float()


def looping_spline(keys: Tensor, t: Tensor) -> Tensor:
    """A smooth way through keys [K, ...] at t [T] in keys, round and round, [T, ...]; at K it is back at the first.

    The periodic cubic spline: velocity and acceleration change without a jump, also where the loop closes. As a sum of
    B-splines (de Boor 1978) its coefficients are a division of spectra: a knot sees 1/6, 4/6, 1/6 of its neighbours.
    """
    count = len(keys)
    response = (4 + 2 * torch.cos(2 * torch.pi * torch.arange(count, dtype=torch.float64) / count)) / 6
    spectrum = torch.fft.fft(keys.double(), dim=0) / response.reshape(-1, *[1] * (keys.ndim - 1)).to(keys.device)
    coefficients = torch.fft.ifft(spectrum, dim=0).real
    u = t.double() - t.double().floor()
    shares = torch.stack([(1 - u) ** 3, 4 - 6 * u**2 + 3 * u**3, 1 + 3 * (u + u**2 - u**3), u**3]) / 6
    knots = (t.floor().long() + torch.tensor([-1, 0, 1, 2])[:, None]) % count
    points: Tensor = torch.einsum("kt,kt...->t...", shares.to(keys.device), coefficients[knots.to(keys.device)])
    return points.to(keys.dtype)


def looping_line(keys: Tensor, t: Tensor) -> Tensor:
    """The straight way through keys [K, ...] at t [T] in keys, round and round, [T, ...]; sharp turns at keys."""
    before = t.floor().long()
    share = (t - before).to(keys).reshape(-1, *[1] * (keys.ndim - 1))
    return torch.lerp(keys[before % len(keys)], keys[(before + 1) % len(keys)], share)
