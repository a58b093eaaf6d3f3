from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan import losses

REALS = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
FAKES = torch.tensor([1.0, 0.0, -0.5, 4.0], dtype=torch.float64)


def random_images(seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_logits(slopes: Tensor) -> Callable[[Tensor], Tensor]:
    """A discriminator whose gradient is the slopes at every image."""
    return lambda images: (images * slopes).sum(dim=(1, 2, 3)) + 0.7


def test_logistic_loss_is_its_closed_form() -> None:
    loss = losses.LOSSES["logistic"]
    torch.testing.assert_close(loss.generator(FAKES, None), -torch.sigmoid(FAKES).log())
    expected = -torch.sigmoid(REALS).log() - (1 - torch.sigmoid(FAKES)).log()
    torch.testing.assert_close(loss.discriminator(REALS, FAKES), expected)


def test_wasserstein_loss_is_its_closed_form() -> None:
    loss = losses.LOSSES["wgan"]
    torch.testing.assert_close(loss.generator(FAKES, None), -FAKES)
    torch.testing.assert_close(loss.discriminator(REALS, FAKES), FAKES - REALS)


def test_relativistic_loss_is_its_closed_form() -> None:
    loss = losses.LOSSES["relativistic"]
    torch.testing.assert_close(loss.generator(FAKES, REALS), -torch.sigmoid(FAKES - REALS).log())
    torch.testing.assert_close(loss.discriminator(REALS, FAKES), -torch.sigmoid(REALS - FAKES).log())


def test_relativistic_loss_is_the_reference_s(fixtures: Path) -> None:
    data = np.load(fixtures / "r3gan_16.npz")
    real, fake = torch.from_numpy(data["D_real"]), torch.from_numpy(data["D_img"])
    loss = losses.LOSSES["relativistic"]
    torch.testing.assert_close(loss.discriminator(real, fake).numpy(), data["dout0"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.generator(fake, real).numpy(), data["gout0"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_fall_as_each_side_does_better(name: str) -> None:
    loss = losses.LOSSES[name]
    assert (loss.generator(FAKES + 1, REALS) < loss.generator(FAKES, REALS)).all()
    assert (loss.discriminator(REALS + 1, FAKES) < loss.discriminator(REALS, FAKES)).all()
    assert (loss.discriminator(REALS, FAKES + 1) > loss.discriminator(REALS, FAKES)).all()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_only_pairing_losses_read_the_reals_logits(name: str) -> None:
    loss = losses.LOSSES[name]
    reads = not torch.equal(loss.generator(FAKES, REALS), loss.generator(FAKES, REALS + 1))
    assert reads == loss.pairs


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_stay_finite_at_large_logits(name: str) -> None:
    loss, large = losses.LOSSES[name], torch.tensor([1e4, -1e4])
    assert loss.generator(large, large.flip(0)).isfinite().all()
    assert loss.discriminator(large, large.flip(0)).isfinite().all()


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_slopes() -> None:
    slopes = random_images(1)
    penalty = losses.r1_penalty(losses.gradient_at(linear_logits(slopes), random_images(2)))
    torch.testing.assert_close(penalty, slopes.square().sum(dim=(1, 2, 3)))


def test_gradient_penalty_of_a_linear_discriminator_is_its_closed_form() -> None:
    slopes = random_images(1)
    penalty = losses.gradient_penalty(losses.gradient_at(linear_logits(slopes), random_images(2)))
    torch.testing.assert_close(penalty, (slopes.square().sum(dim=(1, 2, 3)).sqrt() - 1) ** 2)


def test_penalties_are_differentiable_twice() -> None:
    weight = torch.randn(48, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def penalties(weight: Tensor) -> tuple[Tensor, ...]:
        slopes = losses.gradient_at(lambda x: torch.tanh(x.flatten(1) @ weight).sum(dim=1), random_images(4))
        return tuple(penalty(slopes).sum() for penalty in (losses.r1_penalty, losses.gradient_penalty))

    torch.autograd.gradcheck(penalties, weight.requires_grad_())


def test_gradient_penalty_of_a_flat_discriminator_has_a_gradient() -> None:
    slope = torch.zeros([], dtype=torch.float64, requires_grad=True)
    slopes = losses.gradient_at(lambda x: x.sum(dim=(1, 2, 3)) * slope, random_images(5))
    losses.gradient_penalty(slopes).sum().backward()  # type: ignore[no-untyped-call]
    assert slope.grad is not None
    assert slope.grad.isfinite()
