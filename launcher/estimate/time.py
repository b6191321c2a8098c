"""Hours of a run: training, evaluation, saves, and what happens before and after."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.range import Range
from launcher.estimate.steps import Steps

# GB a second a snapshot is written with, checksums included: a network disk, a cloud machine's own disk, a fast NVMe disk.
SNAPSHOT_GB_PER_S = (0.15, 0.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """Tokens, steps and time of a run. `setup_h` is in `hours` too: start-up, preparing data, loading weights, the final merge and check."""

    tokens: Range
    steps: int
    tokens_per_s_per_gpu: Range
    hours: Range
    setup_h: Range
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


def run_time(steps: Steps, speed: Range, *, gpus: int, evaluation_share: float, set_up: SetUp, checkpoint_gb: float = 0.0) -> RunTime:
    """The time of a run at `speed` tokens a second and GPU; `evaluation_share` is evaluation's work over training's.

    Every save holds training up while its snapshot of `checkpoint_gb` is written.
    """
    computed = steps.tokens_per_step.times(max(steps.steps, 0))
    scale = (1 + evaluation_share) / gpus
    low_steps = steps.low / steps.steps if steps.steps else 1.0
    high_steps = steps.high / steps.steps if steps.steps else 1.0
    seconds = Range(
        value=computed.value / speed.value * scale,
        low=min(computed.value / speed.value, computed.low * low_steps / speed.high) * scale,
        high=max(computed.value / speed.value, computed.high * high_steps / speed.low) * scale,
    )
    low_rate, rate, high_rate = SNAPSHOT_GB_PER_S
    saved = checkpoint_gb * steps.saves
    seconds = Range(value=seconds.value + saved / rate, low=seconds.low + saved / high_rate, high=seconds.high + saved / low_rate)
    setup = Range(value=set_up.value_s / 3600, low=set_up.low_s / 3600, high=set_up.high_s / 3600)
    hours = Range(
        value=seconds.value / 3600 + setup.value,
        low=seconds.low / 3600 + setup.low,
        high=seconds.high / 3600 + setup.high,
        basis=speed.basis,
    )
    return RunTime(tokens=steps.tokens, steps=steps.steps, tokens_per_s_per_gpu=speed, hours=hours, setup_h=setup, basis=speed.basis)
