"""Earlier runs correct estimates: how far off the estimate of a similar run was is how far off this one is taken to be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from launcher.estimate.card import in_ram, on_card, verdict_of
from launcher.estimate.estimate import Estimate, MemoryEstimate
from launcher.estimate.memory import GIB
from launcher.estimate.range import Range
from launcher.estimate.time import RunTime
from launcher.estimate.weights import frozen_or_trained_bytes

# No run corrects an estimate by more: a factor beyond is another setting, not an error.
_LARGEST = 3.0
# One run alone still leaves so much open; every further one a little less (speed between equal runs scatters by a few percent, memory by less).
_ONE_RUN_SPEED, _ONE_RUN_MEMORY = 0.15, 0.05
_OTHER_MODEL = 0.30


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One finished run: its estimate as it would be made today, and what it measured on the same terms (`tokens_per_s` of one GPU, or of the machine)."""

    estimate: Estimate
    tokens_per_s: float
    peak_gib: float

    @property
    def speed_factor(self) -> float | None:
        """Measured over estimated speed."""
        time = self.estimate.time
        return self.tokens_per_s / time.tokens_per_s_per_gpu.value if time is not None else None

    @property
    def memory_factor(self) -> float:
        """Measured over estimated peak: of live tensors on a GPU, of the process on a CPU."""
        memory = self.estimate.memory
        expected = memory.peak.tensors_gib if self.estimate.hardware.gpus is not None else memory.held.value
        return self.peak_gib / expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A factor, the spread around it as a share, and what it rests on."""

    factor: float
    spread: float
    basis: str


def calibrated(made: Estimate, lessons: Sequence[Lesson]) -> Estimate:
    """The estimate corrected by lessons of similar runs; as it was where there are none."""
    twins = [lesson for lesson in lessons if _same_model(lesson.estimate, made)]
    kin = twins or [lesson for lesson in lessons if _same_machine(lesson.estimate, made)]
    speed = _correction(
        [factor for lesson in kin if (factor := lesson.speed_factor) is not None], alone=_ONE_RUN_SPEED if twins else _OTHER_MODEL
    )
    memory = _correction([lesson.memory_factor for lesson in twins], alone=_ONE_RUN_MEMORY)
    if speed is not None and made.time is not None:
        made = replace(made, time=_time(made.time, speed))
    if memory is not None:
        made = replace(made, memory=_memory(made, memory))
    return made


def _same_machine(one: Estimate, other: Estimate) -> bool:
    """Same method on the same kind of card, or on as many cores."""
    a, b = one.hardware, other.hardware
    if a.gpus is None or b.gpus is None:
        return a.gpus is b.gpus and a.cores == b.cores and one.method == other.method
    return a.gpus.gpu == b.gpus.gpu and one.method == other.method


def _same_model(one: Estimate, other: Estimate) -> bool:
    """The same step but for its length: same model, method and machine, and tokens of a micro batch within a factor of two."""
    a, b = one.step.workload, other.step.workload
    return (
        _same_machine(one, other)
        and one.model.facts.parameters == other.model.facts.parameters
        and one.model.facts.model_type == other.model.facts.model_type
        and (a.checkpointing, a.attention, a.loss, a.optimizer, a.sharding, a.compiled)
        == (b.checkpointing, b.attention, b.loss, b.optimizer, b.sharding, b.compiled)
        and 0.5 <= a.tokens / b.tokens <= 2
    )


def _correction(factors: Sequence[float], *, alone: float) -> Correction | None:
    sound = [factor for factor in factors if 1 / _LARGEST <= factor <= _LARGEST]
    if not sound:
        return None
    middle = statistics.median(sound)
    scatter = max(abs(factor / middle - 1) for factor in sound)
    spread = max(scatter, alone / math.sqrt(len(sound)))
    count = f"{len(sound)} run{'s' if len(sound) > 1 else ''}"
    return Correction(factor=middle, spread=spread, basis=f"{count}, ±{spread:.0%}")


def _time(time: RunTime, correction: Correction) -> RunTime:
    old = time.tokens_per_s_per_gpu
    value = old.value * correction.factor
    speed = Range(value=value, low=value / (1 + correction.spread), high=value * (1 + correction.spread), basis=correction.basis)
    training = time.hours.value - time.setup_h.value
    # What the length of the run leaves open stays open; what the speed left open shrinks to the runs' scatter.
    low_share = max(0.0, time.hours.low - time.setup_h.low) * old.high / (training * old.value) if training > 0 else 1.0
    high_share = (time.hours.high - time.setup_h.high) * old.low / (training * old.value) if training > 0 else 1.0
    corrected = training / correction.factor
    hours = Range(
        value=corrected + time.setup_h.value,
        low=min(corrected * min(1.0, low_share) / (1 + correction.spread) + time.setup_h.low, corrected + time.setup_h.value),
        high=max(corrected * max(1.0, high_share) * (1 + correction.spread) + time.setup_h.high, corrected + time.setup_h.value),
        basis=correction.basis,
    )
    return replace(time, tokens_per_s_per_gpu=speed, hours=hours, basis=correction.basis)


def _memory(made: Estimate, correction: Correction) -> MemoryEstimate:
    memory, hardware = made.memory, made.hardware
    error = (1 / (1 + correction.spread), 1 + correction.spread)
    if hardware.gpus is None:
        held = memory.held.times(correction.factor)
        weights = frozen_or_trained_bytes(made.model.facts, made.step.workload) / GIB
        slack = in_ram(memory.peak.tensors_gib, weights_gib=weights)
        value = held.value
        low, high = value * error[0], max(value * error[1], min(held.high, slack.high * correction.factor))
        card = replace(slack, value=value, low=min(low, value), high=high)
    else:
        card = on_card(
            memory.peak.tensors_gib * correction.factor,
            gpus=hardware.processes,
            packed=True,
            capability=hardware.gpus.gpu.compute_capability,
            error=error,
        )
    return replace(
        memory,
        held=Range(value=card.value, low=card.low, high=card.high, basis=correction.basis),
        verdict=verdict_of(card, memory.capacity_gib if hardware.gpus is not None else hardware.room_gib),
    )
