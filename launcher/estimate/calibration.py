"""Earlier runs correct estimates: how far off the estimate of a similar run was is how far off this one is taken to be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from launcher.estimate.estimate import Estimate, Learnt, memory_held
from launcher.estimate.range import Range
from launcher.estimate.time import RunTime, added

# No run corrects an estimate by more: a factor beyond is another setting, not an error. How fast an unknown processor is, the estimate hardly knows.
_LARGEST, _LARGEST_CPU_SPEED = 3.0, 30.0
# One run alone still leaves so much open; every further one a little less. Speed between equal runs scatters by a few percent; the allocator's peak by
# less; the resident set of a process by more, as the system decides what of it stays.
_ONE_RUN_SPEED, _ONE_RUN_ALLOCATED, _ONE_RUN_RESIDENT = 0.15, 0.05, 0.10
_OTHER_MODEL = 0.30


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What two runs must have in common to teach each other: `machine` and `method` for the speed, `model` and `step` for everything.

    `tokens` are those of a micro batch, which may differ by a factor of two.
    """

    machine: str
    method: str
    model: str
    step: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one run taught: measured over estimated speed and peak memory, None where it did not measure one."""

    likeness: Likeness
    speed_factor: float | None
    memory_factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One run's estimate, as it would be made today, beside what the run measured: `tokens_per_s` of one GPU, or of the machine; `peak_gib` of live tensors on
    one GPU, or of one process. None where it was not measured."""

    estimate: Estimate
    tokens_per_s: float | None
    peak_gib: float | None

    @property
    def expected_gib(self) -> float:
        """The estimate of what `peak_gib` measures."""
        return self.estimate.process_gib

    @property
    def speed_factor(self) -> float | None:
        """Measured over estimated speed."""
        time = self.estimate.time
        return self.tokens_per_s / time.tokens_per_s_per_gpu.value if time is not None and self.tokens_per_s is not None else None

    @property
    def memory_factor(self) -> float | None:
        """Measured over estimated peak."""
        return self.peak_gib / self.expected_gib if self.peak_gib is not None else None

    @property
    def lesson(self) -> Lesson:
        """What other runs can learn from it."""
        return Lesson(likeness=likeness_of(self.estimate), speed_factor=self.speed_factor, memory_factor=self.memory_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A factor, the spread around it as a share, and what it rests on."""

    factor: float
    spread: float
    basis: str


def calibrated(made: Estimate, lessons: Sequence[Lesson]) -> Estimate:
    """The estimate corrected by lessons of similar runs; as it was where there are none."""
    own = likeness_of(made)
    kin = [lesson for lesson in lessons if (lesson.likeness.machine, lesson.likeness.method) == (own.machine, own.method)]
    twins = [lesson for lesson in kin if _same_step(lesson.likeness, own)]
    on_gpu = made.hardware.gpus is not None
    most = _LARGEST if on_gpu else _LARGEST_CPU_SPEED
    speed = _correction([lesson.speed_factor for lesson in twins], alone=_ONE_RUN_SPEED, most=most) or _correction(
        [lesson.speed_factor for lesson in kin], alone=_OTHER_MODEL, most=most, what=" of other models"
    )
    memory = _correction([lesson.memory_factor for lesson in twins], alone=_ONE_RUN_ALLOCATED if on_gpu else _ONE_RUN_RESIDENT)
    if speed is not None and made.time is not None:
        time = _time(made.time, speed)
        saves = made.saves.over(time.training_h.value)
        made = replace(made, time=time, saves=saves)
    if memory is not None:
        learnt = Learnt(factor=memory.factor, spread=memory.spread, basis=memory.basis)
        made = replace(made, memory=memory_held(made.memory, made.step, made.hardware, learnt=learnt))
    return made


def likeness_of(made: Estimate) -> Likeness:
    """What a run must have in common with the one estimated as `made`."""
    hardware, facts, step = made.hardware, made.model.facts, made.step.workload
    return Likeness(
        machine=hardware.gpus.gpu.name if hardware.gpus is not None else f"cpu with {hardware.cores} cores",
        method=made.method,
        model=f"{facts.model_type} {facts.parameters}",
        step=" ".join(map(str, (step.checkpointing, step.attention, step.loss, step.optimizer, step.sharding, step.compiled))),
        tokens=step.tokens,
    )


def _same_step(one: Likeness, other: Likeness) -> bool:
    return (one.model, one.step) == (other.model, other.step) and 0.5 <= one.tokens / other.tokens <= 2


def _correction(factors: Sequence[float | None], *, alone: float, most: float = _LARGEST, what: str = "") -> Correction | None:
    sound = [factor for factor in factors if factor is not None and 1 / most <= factor <= most]
    if not sound:
        return None
    middle = statistics.median(sound)
    scatter = max(abs(factor / middle - 1) for factor in sound)
    spread = max(scatter, alone / math.sqrt(len(sound)))
    count = f"{len(sound)} run{'s' if len(sound) > 1 else ''}{what}"
    return Correction(factor=middle, spread=spread, basis=f"{count}, ±{spread:.0%}")


def _time(time: RunTime, correction: Correction) -> RunTime:
    old, training = time.tokens_per_s_per_gpu, time.training_h
    value, wide = old.value * correction.factor, 1 + correction.spread
    speed = Range(value=value, low=value / wide, high=value * wide, basis=correction.basis)
    corrected = training.value / correction.factor
    # What the length of the run leaves open stays open; what the speed left open shrinks to the runs' scatter.
    short = min(1.0, training.low * old.high / (training.value * old.value)) if training.value > 0 else 1.0
    long = max(1.0, training.high * old.low / (training.value * old.value)) if training.value > 0 else 1.0
    hours = Range(value=corrected, low=corrected * short / wide, high=corrected * long * wide, basis=correction.basis)
    return replace(
        time,
        tokens_per_s_per_gpu=speed,
        training_h=hours,
        hours=added(hours, time.saving_h, time.setup_h),
        basis=correction.basis,
    )
