"""Alarms: what goes wrong in a training, said with figures and advice while it can still be saved.

ALARMS holds the rules. Each is a function of the ticks so far, which are the lines of stats.jsonl, so a resumed
training knows what it knew. A symptom must show in several ticks running before it is an alarm, and be away for as
many before it can be one again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from stylegan.config import TrainConfig
from stylegan.loader import Batch
from stylegan.state import TrainState
from stylegan.vitals import first_not_finite, measure

Figures = dict[str, float]  # of one tick
Symptom = Callable[[Sequence[Figures], TrainConfig], str | None]

OVERFIT_SHARE = 0.4  # of the way from training faces to fakes that held-out faces have gone
OVERFIT_ERRORS = 3.0  # standard errors that the gap must exceed
ONE_SIDED = 0.95  # mean sign of logits from which on the discriminator is all but never wrong
LOST_LOSS = 4.0  # the generator's, logistic: the discriminator gives its fakes odds of 1 : 50
SILENT = 0.01  # deviation of the logits below which the discriminator says nothing
FOOLED = 0.25  # deviations that fakes' logits lie above reals'
COLLAPSED = 0.25  # of the reals' diversity; healthy runs stay above 0.45
DROPLET_PEAK = 50.0  # half of a map's energy in a hundredth of its places
EXPLODED = 30.0  # times what the gradient was
GLARING = 3.0  # mean absolute pixel of fakes, where pictures end at 1
LEAKING_P = 0.85  # above 0.8 augmentations leak into the fakes (Karras et al. 2020b, section 2.2)
LOUDEST = {"logistic": 100.0, "relativistic": 1000.0, "wgan": 10000.0}  # mean logits by loss


class Alarm(NamedTuple):
    """Something wrong, found at a tick."""

    name: str
    kimg: float
    says: str
    advice: str

    def __str__(self) -> str:
        return f"alarm {self.name} at kimg {self.kimg:.3f}: {self.says}; {self.advice}"


class Rule(NamedTuple):
    """A symptom, in how many ticks running it must show, and what to do about it."""

    symptom: Symptom
    patience: int
    advice: str


class Look(NamedTuple):
    """What came of looking at a tick."""

    figures: Figures  # to be written beside the tick's own
    alarms: list[Alarm]  # new ones


def mean_of_last(ticks: Sequence[Figures], count: int, *names: str) -> list[float] | None:
    """Means over the last ticks of the named figures; None unless each of these ticks has all of them."""
    last = ticks[-count:]
    if len(last) < count or any(name not in tick for tick in last for name in names):
        return None
    return [statistics.fmean(tick[name] for tick in last) for name in names]


def not_finite(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """A figure of the last tick is NaN or infinite."""
    bad = [name for name, value in ticks[-1].items() if not math.isfinite(value)]
    return f"{', '.join(bad)} no longer finite" if bad else None


def discriminator_overfits(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """Held-out faces look like fakes to the discriminator: it knows its training faces by heart.

    r_v of Karras et al. 2020b (arXiv:2006.06676, equation 1): the way from the training faces' logits to the fakes'
    that the held-out faces' have gone, 0 none, 1 all.
    """
    means = mean_of_last(ticks, 3, "score_watched", "score_held_out", "score_fixed", "score_error")
    if means is None:
        return None
    watched, held_out, fakes, error = means
    gap, way = watched - held_out, watched - fakes
    if gap < OVERFIT_ERRORS * error or way <= 0 or gap < OVERFIT_SHARE * way:
        return None
    return (
        f"D gives training faces {watched:+.2f}, held-out ones {held_out:+.2f} +- {error:.2f}, fakes {fakes:+.2f}: "
        f"{gap / way:.0%} of the way to a fake"
    )


def imbalance(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """One of the two has won: the discriminator is never wrong, or is fooled, or says nothing."""
    means = mean_of_last(ticks, 4, "score_real", "score_fake", "score_spread")
    if means is None:
        return None
    real, fake, spread = means
    if spread < SILENT:
        return f"D's logits are {real:+.3f} whatever it sees (deviation {spread:.3f}): it teaches G nothing"
    if fake - real > FOOLED * spread:
        return f"D takes fakes ({fake:+.2f}) for more real than reals ({real:+.2f}): D has lost"
    # Logits of the other losses have no zero that means "undecided".
    return generator_has_lost(ticks) if config.loss == "logistic" else None


def generator_has_lost(ticks: Sequence[Figures]) -> str | None:
    """The discriminator is all but never wrong, and the generator's loss is high and does not fall."""
    lately = mean_of_last(ticks, 4, "sign_real", "sign_fake", "loss_G")
    before = mean_of_last(ticks[:-4], 4, "loss_G")
    if lately is None or before is None:
        return None
    sign_real, sign_fake, loss = lately
    if min(sign_real, -sign_fake) < ONE_SIDED or loss < max(LOST_LOSS, 0.9 * before[0]):
        return None
    right = (2 + sign_real - sign_fake) / 4
    return f"D is right about {right:.1%} of all images and loss_G is {loss:.1f}: G has lost"


def collapse(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """Fakes of different latents look alike."""
    means = mean_of_last(ticks, 1, "diversity_pixels", "diversity_features")
    if means is None or max(means) > COLLAPSED:
        return None
    return f"fakes are {means[0]:.0%} as unlike each other as reals in pixels, {means[1]:.0%} in D's features"


def droplets(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """The generator's feature maps hold a blob far stronger than all the rest (Karras et al. 2020, section 2)."""
    peak = ticks[-1].get("peak", 0.0)
    return f"a hundredth of G's maps holds {peak:.0f} times the mean energy" if peak > DROPLET_PEAK else None


def exploding(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """Gradients, logits or pixels have left all bounds."""
    for name in ("gradient_G", "gradient_D"):
        before = [tick[name] for tick in ticks[-20:-2] if name in tick]
        now = ticks[-1].get(name, 0.0)
        if len(before) >= 2 and now > EXPLODED * statistics.median(before) > 0:
            return f"{name} is {now:.3g}, it was {statistics.median(before):.3g}"
    loudest = max(abs(ticks[-1].get(name, 0.0)) for name in ("score_real", "score_fake"))
    if loudest > LOUDEST[config.loss]:
        return f"D's mean logits reach {loudest:.3g}"
    brightness = ticks[-1].get("brightness", 0.0)
    if brightness > GLARING:
        return f"the fakes' mean absolute pixel is {brightness:.1f} where 1 is black or white"
    return None


def augmentation_leaks(ticks: Sequence[Figures], config: TrainConfig) -> str | None:
    """The adaptive augmentation wants more than it can do without showing in the fakes."""
    p = ticks[-1].get("augment_p", 0.0)
    return f"p of the augmentation is {p:.2f}" if config.augment.mode == "adaptive" and p > LEAKING_P else None


LOWER = "lower lr_G and lr_D while it runs (python -m stylegan.events RUN --lr-G ... --lr-D ...)"
ALARMS: dict[str, Rule] = {
    "not_finite": Rule(
        not_finite, 1, "start a run from the last good checkpoint with lower lr_G and lr_D, or a higher gamma"
    ),
    "discriminator_overfits": Rule(
        discriminator_overfits, 3, "stop and take the best checkpoint, add faces, or train with augment.mode: adaptive"
    ),
    "imbalance": Rule(imbalance, 3, "lower the winner's learning rate; where D wins, raise gamma or augment too"),
    "collapse": Rule(collapse, 3, "start a run from a checkpoint before it with a lower lr_G and a higher gamma"),
    "droplets": Rule(
        droplets, 3, "train a stylegan2, which demodulates weights instead of normalising maps, or " + LOWER
    ),
    "exploding": Rule(exploding, 2, LOWER + ", or start a run from an earlier checkpoint with a higher gamma"),
    "augmentation_leaks": Rule(
        augmentation_leaks, 3, "add faces, or stop: look for colours and turns that no real face has"
    ),
}


class Watch:
    """Looks at a training at every tick and raises alarms."""

    def __init__(
        self,
        config: TrainConfig,
        training: Batch | None,
        held_out: Batch | None,
        past: Iterable[Figures] = (),
    ) -> None:
        """The faces are vitals.watched_faces of either split, past the lines of stats.jsonl, oldest first."""
        self.config, self.training, self.held_out = config, training, held_out
        self.ticks: list[Figures] = []
        self.standing: set[str] = set()  # alarms that have been raised and still hold
        self._runs = dict.fromkeys(ALARMS, 0)  # ticks in a row with (> 0) or without (< 0) the symptom
        for figures in past:
            self.weigh(figures)

    def look(self, state: TrainState, figures: Figures) -> Look:
        """Measure, judge, and answer with what to write and what to say; figures: means of the tick's steps."""
        measured = {} if self.training is None else measure(state, self.config, self.training, self.held_out)
        measured = {name: float(f"{value:.6g}") for name, value in measured.items()}  # as stats.jsonl keeps them
        tick = {name: float(f"{value:.6g}") for name, value in figures.items()} | measured
        found = self.weigh(tick)
        if "not_finite" in found and (layer := first_not_finite(state, self.config)):
            found["not_finite"] += f"; first in {layer}"
        kimg = state.images_seen / 1000
        return Look(measured, [Alarm(name, kimg, says, ALARMS[name].advice) for name, says in found.items()])

    def weigh(self, tick: Figures) -> dict[str, str]:
        """Take note of a tick; alarms that it raises, and what they say."""
        self.ticks.append(tick)
        found = {}
        for name, rule in ALARMS.items():
            says, run = rule.symptom(self.ticks, self.config), self._runs[name]
            self._runs[name] = max(run, 0) + 1 if says else min(run, 0) - 1
            if says and self._runs[name] >= rule.patience and name not in self.standing:
                self.standing.add(name)
                found[name] = says
            elif self._runs[name] <= -rule.patience:
                self.standing.discard(name)
        return found

    def ends(self, stop_on: Collection[str]) -> str | None:
        """The name of an alarm that holds and is one of those that shall end the training."""
        return min(self.standing.intersection(stop_on), default=None)


def diverged(state: TrainState, config: TrainConfig, error: ArithmeticError) -> Alarm:
    """The alarm of a training that cannot go on, with the layer where it began."""
    layer = first_not_finite(state, config)
    says = f"{error}; first in {layer}" if layer else str(error)
    return Alarm("not_finite", state.images_seen / 1000, says, ALARMS["not_finite"].advice)
