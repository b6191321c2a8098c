"""Hours of a run: training, evaluation, saves, and what happens before and after."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.range import Range
from launcher.estimate.saves import SNAPSHOT_GB_PER_S, SNAPSHOT_S, Saves
from launcher.estimate.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """Tokens, steps and time of a run. `hours` are set-up (start-up, preparing data, loading weights, the final merge and check), the training itself with
    its evaluations, and the time that saves hold it up."""

    tokens: Range
    steps: int
    tokens_per_s_per_gpu: Range
    hours: Range
    setup_h: Range
    training_h: Range
    saving_h: Range
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """Seconds around the training itself, at least, expected, at most."""

    low_s: float
    value_s: float
    high_s: float


def local_set_up(weights_gib: float) -> SetUp:
    """On this machine: importing the training stack (10 to 20 s a process, three processes with merge and check), reading the weights three times."""
    read = 3 * weights_gib  # a GiB a second from a local disk
    return SetUp(low_s=15 + read * 0.3, value_s=40 + read, high_s=120 + read * 10)


def rented_set_up(weights_gib: float) -> SetUp:
    """On a rented machine: provisioning 2 to 10 minutes, an image of 10 GiB, weights over the network at 0.2 to 1 GB/s, merge and check."""
    return SetUp(low_s=180 + weights_gib, value_s=480 + weights_gib * 4, high_s=1200 + weights_gib * 12)


def training_hours(steps: Steps, speed: Range, *, gpus: int, evaluation_share: float) -> Range:
    """Hours of the training steps and evaluations at `speed` tokens a second and GPU; `evaluation_share` is evaluation's work over training's."""
    computed = steps.tokens_per_step.times(max(steps.steps, 0))
    scale = (1 + evaluation_share) / gpus / 3600
    low_steps = steps.low / steps.steps if steps.steps else 1.0
    high_steps = steps.high / steps.steps if steps.steps else 1.0
    return Range(
        value=computed.value / speed.value * scale,
        low=min(computed.value / speed.value, computed.low * low_steps / speed.high) * scale,
        high=max(computed.value / speed.value, computed.high * high_steps / speed.low) * scale,
        basis=speed.basis,
    )


def run_time(steps: Steps, speed: Range, training: Range, saves: Saves, *, set_up: SetUp) -> RunTime:
    """The time of a run that trains for `training` hours. Every save holds it up while its snapshot is written."""
    low_rate, rate, high_rate = SNAPSHOT_GB_PER_S
    waited, saved = SNAPSHOT_S * saves.count / 3600, saves.checkpoint_gb * saves.count / 3600
    saving = Range(value=waited + saved / rate, low=saved / high_rate, high=4 * waited + saved / low_rate)
    setup = Range(value=set_up.value_s / 3600, low=set_up.low_s / 3600, high=set_up.high_s / 3600)
    return RunTime(
        tokens=steps.tokens,
        steps=steps.steps,
        tokens_per_s_per_gpu=speed,
        hours=added(training, saving, setup),
        setup_h=setup,
        training_h=training,
        saving_h=saving,
        basis=speed.basis,
    )


def added(training: Range, saving: Range, setup: Range) -> Range:
    """Hours of a whole run; what is open of its parts adds up, as they have the same causes: a slow machine, a slow disk."""
    return Range(
        value=training.value + saving.value + setup.value,
        low=training.low + saving.low + setup.low,
        high=training.high + saving.high + setup.high,
        basis=training.basis,
    )
