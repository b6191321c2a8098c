"""The estimate of a recipe on some hardware: memory, time and money, each with its spread and its basis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.estimate.card import OnCard, Verdict, in_ram, on_card, verdict_of
from launcher.estimate.cost import cost_usd
from launcher.estimate.facts import ModelFacts
from launcher.estimate.hardware import Hardware
from launcher.estimate.memory import peak_of
from launcher.estimate.model_source import ModelSource
from launcher.estimate.peak import GIB, Peak, Phase
from launcher.estimate.range import Range
from launcher.estimate.recipe_sharding import readers
from launcher.estimate.recipe_step import RecipeStep, step_of
from launcher.estimate.rows import DataSize
from launcher.estimate.saves import Saves, saves_of
from launcher.estimate.sharding import in_host_memory_gib
from launcher.estimate.speed import cpu_tokens_per_s, tokens_per_s
from launcher.estimate.steps import Steps, steps_of
from launcher.estimate.time import RunTime, SetUp, local_set_up, rented_set_up, run_time, training_hours
from launcher.estimate.weights import frozen_or_trained_bytes
from runtime.config.beat import leaves_saves_open, preemption_hours

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory of one card (or of the machine, on a CPU) in GiB, and whether it is enough."""

    peak: Peak
    held: Range
    capacity_gib: float
    verdict: Verdict
    one_length: bool
    """All rows have the same length, which keeps the allocator tidy."""
    assumptions: tuple[str, ...]
    not_modelled: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The `memory` object of the estimate's JSON."""
        return {
            "per_gpu_gib": self.held.to_json(3),
            "tensors_gib": round(self.peak.tensors_gib, 4),
            "breakdown_gib": {term: round(gib, 4) for term, gib in self.peak.breakdown_gib.items()},
            "phases_gib": {phase.name: round(phase.total / GIB, 4) for phase in self.peak.phases},
            "peak_phase": self.peak.phase.name,
            "card_gib": round(self.capacity_gib, 2),
            "verdict": self.verdict,
            "assumptions": list(self.assumptions),
            "not_modelled": list(self.not_modelled),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What runs like this one measured of its memory over their estimates, the spread around it as a share, and what it rests on."""

    factor: float
    spread: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Everything about a run before it runs. `time` is None when neither the data's size nor `max_steps` is known."""

    model: ModelSource
    method: str
    hardware: Hardware
    step: RecipeStep
    data: DataSize
    steps: Steps
    saves: Saves
    memory: MemoryEstimate
    time: RunTime | None
    cost: Range | None

    @property
    def process_gib(self) -> float:
        """The peak that one process should measure of itself, GiB: of live tensors on its GPU, of its resident set on a CPU."""
        return self.memory.peak.tensors_gib if self.hardware.gpus is not None else self.memory.held.value / self.hardware.processes

    @property
    def host_gib(self) -> float:
        """GiB of training state that wait in the memory of each machine; zero where all of it is on the GPUs."""
        return in_host_memory_gib(self.model.facts, self.step.workload) / self.hardware.nodes

    def to_json(self) -> dict[str, Any]:
        """The `data` object of `launcher estimate --json`, offers aside."""
        time = None
        if self.time is not None:
            time = {
                "tokens": round(self.time.tokens.value),
                "tokens_range": self.time.tokens.to_json(0),
                "steps": self.time.steps,
                "tokens_per_s_per_gpu": self.time.tokens_per_s_per_gpu.to_json(1),
                "hours": self.time.hours.to_json(),
                "setup_hours": self.time.setup_h.to_json(),
                "saving_hours": self.time.saving_h.to_json(),
                "basis": self.time.basis,
            }
        facts = self.model.facts
        return {
            "model": {
                "name": facts.name,
                "type": facts.model_type,
                "parameters": facts.parameters,
                "origin": self.model.origin,
                "exact": facts.exact,
            },
            "method": self.method,
            "hardware": self.hardware.name,
            "memory": self.memory.to_json() | {"process_gib": round(self.process_gib, 4), "host_gib": round(self.host_gib, 1)},
            "time": time,
            "saves": self.saves.to_json(),
            "cost": {"usd": self.cost.to_json() if self.cost is not None else None},
        }


def estimate(
    config: TrainingConfig,
    model: ModelSource,
    hardware: Hardware,
    data: DataSize,
    *,
    usd_per_h: float | None = None,
    preemption_h: float | None = None,
) -> Estimate:
    """The estimate of `config` on `hardware`. `usd_per_h` is the price of all of it; without one there is no cost.

    `preemption_h` is what the training will be told of its machines where the recipe does not say; None: nothing.
    """
    facts = model.facts
    step, memory = memory_of(config, model, hardware, data)
    steps = steps_of(config, data, processes=_readers(config, hardware))
    training, speed = _training(facts, step, steps, hardware, data)
    saves = saves_of(
        config,
        facts,
        step.workload,
        steps,
        training_h=training.value if steps.known else None,
        preemption_h=preemption_hours(config, {}) or (preemption_h if leaves_saves_open(config) else None),
    )
    time = run_time(steps, speed, training, saves, set_up=_set_up(facts, hardware)) if steps.known else None
    cost = cost_usd(time.hours, usd_per_h) if time is not None and usd_per_h is not None else None
    return Estimate(
        model=model,
        method=step.method,
        hardware=hardware,
        step=step,
        data=data,
        steps=steps,
        saves=saves,
        memory=memory,
        time=time,
        cost=cost,
    )


def memory_of(config: TrainingConfig, model: ModelSource, hardware: Hardware, data: DataSize) -> tuple[RecipeStep, MemoryEstimate]:
    """The step of a recipe on `hardware`, and the memory it needs there."""
    step = step_of(config, model.facts, hardware.place, longest=data.longest if data.known else None)
    one_length = bool(config.sample_packing or config.pad_to_sequence_len)
    return step, memory_estimate(model.facts, step, hardware, one_length=one_length)


def memory_estimate(facts: ModelFacts, step: RecipeStep, hardware: Hardware, *, one_length: bool) -> MemoryEstimate:
    """Peak memory of a step on `hardware`; `one_length` says that every row has the same length."""
    peak = peak_of(facts, step.workload)
    basis: tuple[str, ...]
    if hardware.gpus is None:
        weights = frozen_or_trained_bytes(facts, step.workload) / GIB
        held = in_ram(peak.tensors_gib * hardware.processes, weights_gib=weights, processes=hardware.processes)
        basis = ("tensors, the processes' own memory and the allocator's slack",)
    else:
        error = (0.95, 1.06) if facts.exact and not step.not_modelled else (0.8, 1.25)
        held, basis = _on_cards(peak.tensors_gib, step, hardware, one_length=one_length, error=error)
    return _estimated(peak, held, step, hardware, basis=", ".join(basis), one_length=one_length)


def memory_held(memory: MemoryEstimate, step: RecipeStep, hardware: Hardware, *, learnt: Learnt) -> MemoryEstimate:
    """The estimate as runs like it have measured it, within `learnt.spread`.

    On a GPU those runs measured live tensors, which are all taken to be off by the same factor; what the card holds besides stays as open as it was. On a
    CPU they measured all that a process holds.
    """
    error = (1 / (1 + learnt.spread), 1 + learnt.spread)
    peak = memory.peak
    if hardware.gpus is None:
        value = memory.held.value * learnt.factor
        held = OnCard(value=value, low=value * error[0], high=value * error[1], context_gib=0.0)
    else:
        peak = Peak(phases=tuple(_scaled(phase, learnt.factor) for phase in peak.phases))
        held, _ = _on_cards(peak.tensors_gib, step, hardware, one_length=memory.one_length, error=error)
    return _estimated(peak, held, step, hardware, basis=learnt.basis, one_length=memory.one_length)


def _on_cards(
    tensors_gib: float, step: RecipeStep, hardware: Hardware, *, one_length: bool, error: tuple[float, float]
) -> tuple[OnCard, tuple[str, ...]]:
    """What a card must hold for live tensors of `tensors_gib`, and what that consists of."""
    assert hardware.gpus is not None
    capability = hardware.gpus.gpu.compute_capability
    held = on_card(tensors_gib, gpus=hardware.processes, packed=one_length, capability=capability, error=error)
    parts = ["tensors", "CUDA context", "allocator slack"]
    if hardware.processes > 1:
        parts.append("NCCL buffers")
    if beside := step.workload.colocated_share * hardware.capacity_gib:
        held = replace(held, value=held.value + beside, low=held.low + beside, high=held.high + beside)
        parts.append(f"{beside:.1f} GiB for vLLM")
    return held, tuple(parts)


def _scaled(phase: Phase, factor: float) -> Phase:
    return replace(phase, terms={term: size * factor for term, size in phase.terms.items()})


def _estimated(peak: Peak, held: OnCard, step: RecipeStep, hardware: Hardware, *, basis: str, one_length: bool) -> MemoryEstimate:
    return MemoryEstimate(
        peak=peak,
        held=Range(value=held.value, low=held.low, high=held.high, basis=basis),
        capacity_gib=hardware.room_gib,
        verdict=verdict_of(held, hardware.room_gib),
        one_length=one_length,
        assumptions=step.assumptions,
        not_modelled=step.not_modelled,
    )


def _readers(config: TrainingConfig, hardware: Hardware) -> int:
    """Processes that read rows of their own."""
    return hardware.processes if hardware.gpus is None else readers(config, hardware.place)


def _training(facts: ModelFacts, step: RecipeStep, steps: Steps, hardware: Hardware, data: DataSize) -> tuple[Range, Range]:
    """(hours of the steps and evaluations, tokens a second of a GPU or of the machine)."""
    share = _evaluation_share(steps, data)
    if hardware.gpus is None:
        speed = cpu_tokens_per_s(facts, step.workload, cores=max(1, hardware.cores))
        # The processes share the cores: one speed for all of them.
        return training_hours(steps, speed, gpus=1, evaluation_share=share), speed
    speed = tokens_per_s(facts, step.workload, hardware.gpus.gpu)
    return training_hours(steps, speed, gpus=hardware.place.gpus, evaluation_share=share), speed


def _set_up(facts: ModelFacts, hardware: Hardware) -> SetUp:
    weights_gib = facts.parameters * 2 / GIB
    return rented_set_up(weights_gib) if hardware.gpus is not None and hardware.rented else local_set_up(weights_gib)


def _evaluation_share(steps: Steps, data: DataSize) -> float:
    """Work of all evaluations over that of training; nothing where the data to evaluate on are not known."""
    if not steps.steps or not data.evaluated:
        return 0.0
    # A pass forward is a third to a half of a training step's work.
    return steps.evaluations * data.evaluated * 0.4 / max(steps.epochs, 1e-6)
