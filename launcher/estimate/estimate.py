"""The estimate of a recipe on some hardware: memory, time and money, each with its spread and its basis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.estimate.card import OnCard, Verdict, in_ram, on_card, verdict_of
from launcher.estimate.cost import cost_usd
from launcher.estimate.facts import ModelFacts
from launcher.estimate.hardware import Hardware
from launcher.estimate.memory import GIB, Peak, peak_of
from launcher.estimate.model_source import ModelSource
from launcher.estimate.optimizer_state import checkpoint_bytes_of
from launcher.estimate.range import Range
from launcher.estimate.recipe_step import RecipeStep, step_of
from launcher.estimate.rows import DataSize
from launcher.estimate.speed import cpu_tokens_per_s, tokens_per_s
from launcher.estimate.steps import Steps, steps_of
from launcher.estimate.time import RunTime, local_set_up, rented_set_up, run_time
from launcher.estimate.weights import frozen_or_trained_bytes

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory of one card (or of the machine, on a CPU) in GiB, and whether it is enough."""

    peak: Peak
    held: Range
    capacity_gib: float
    verdict: Verdict
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
class Estimate:
    """Everything about a run before it runs. `time` is None when neither the data's size nor `max_steps` is known."""

    model: ModelSource
    method: str
    hardware: Hardware
    step: RecipeStep
    data: DataSize
    steps: Steps
    memory: MemoryEstimate
    time: RunTime | None
    cost: Range | None

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
            "memory": self.memory.to_json(),
            "time": time,
            "cost": {"usd": self.cost.to_json() if self.cost is not None else None},
        }


def estimate(config: TrainingConfig, model: ModelSource, hardware: Hardware, data: DataSize, *, usd_per_h: float | None = None) -> Estimate:
    """The estimate of `config` on `hardware`. `usd_per_h` is the price of all of it; without one there is no cost."""
    facts = model.facts
    step = step_of(config, facts, hardware.place, longest=data.longest if data.known else None)
    steps = steps_of(config, data, processes=hardware.processes)
    memory = memory_estimate(facts, step, hardware, one_length=bool(config.sample_packing or config.pad_to_sequence_len))
    time = _time(config, facts, step, steps, hardware) if steps.known else None
    cost = cost_usd(time.hours, usd_per_h) if time is not None and usd_per_h is not None else None
    return Estimate(
        model=model, method=step.method, hardware=hardware, step=step, data=data, steps=steps, memory=memory, time=time, cost=cost
    )


def memory_estimate(facts: ModelFacts, step: RecipeStep, hardware: Hardware, *, one_length: bool) -> MemoryEstimate:
    """Peak memory of a step on `hardware`; `one_length` says that every row has the same length."""
    peak = peak_of(facts, step.workload)
    held: OnCard
    if hardware.gpus is None:
        weights = frozen_or_trained_bytes(facts, step.workload) / GIB
        held = in_ram(peak.tensors_gib * hardware.processes, weights_gib=weights)
        basis = "tensors, the processes' own memory and the allocator's slack"
    else:
        error = (0.95, 1.06) if facts.exact and not step.not_modelled else (0.8, 1.25)
        held = on_card(
            peak.tensors_gib, gpus=hardware.processes, packed=one_length, capability=hardware.gpus.gpu.compute_capability, error=error
        )
        basis = "tensors, CUDA context, allocator slack" + (", NCCL buffers" if hardware.processes > 1 else "")
        if beside := step.workload.colocated_share * hardware.capacity_gib:
            held = replace(held, value=held.value + beside, low=held.low + beside, high=held.high + beside)
            basis += f", {beside:.1f} GiB for vLLM"
    return MemoryEstimate(
        peak=peak,
        held=Range(value=held.value, low=held.low, high=held.high, basis=basis),
        capacity_gib=hardware.room_gib,
        verdict=verdict_of(held, hardware.room_gib),
        assumptions=step.assumptions,
        not_modelled=step.not_modelled,
    )


def _time(config: TrainingConfig, facts: ModelFacts, step: RecipeStep, steps: Steps, hardware: Hardware) -> RunTime:
    weights_gib = facts.parameters * 2 / GIB
    checkpoint_gb = checkpoint_bytes_of(facts, step.workload) / 1e9
    if hardware.gpus is None:
        speed = cpu_tokens_per_s(facts, step.workload, cores=max(1, hardware.cores))
        # The processes share the cores: one speed for all of them.
        return run_time(
            steps,
            speed,
            gpus=1,
            evaluation_share=_evaluation_share(config, steps),
            set_up=local_set_up(weights_gib),
            checkpoint_gb=checkpoint_gb,
        )
    speed = tokens_per_s(facts, step.workload, hardware.gpus.gpu)
    set_up = rented_set_up(weights_gib) if hardware.rented else local_set_up(weights_gib)
    return run_time(
        steps,
        speed,
        gpus=hardware.place.gpus,
        evaluation_share=_evaluation_share(config, steps),
        set_up=set_up,
        checkpoint_gb=checkpoint_gb,
    )


def _evaluation_share(config: TrainingConfig, steps: Steps) -> float:
    """Work of all evaluations over that of training: forward passes alone over the held-out share of the data."""
    share = float(config.val_set_size or 0.0)
    if not steps.steps or not steps.evaluations or share <= 0 or share >= 1:
        return 0.0
    # A pass forward is a third to a half of a training step's work.
    return steps.evaluations * share / (1 - share) * 0.4 / max(steps.epochs, 1e-6)
