"""What to change in a recipe: the largest micro batch that fits, and the smallest changes that make it fit at all."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.estimate.estimate import Estimate, estimate, memory_of
from launcher.estimate.hardware import Hardware
from launcher.estimate.model_source import ModelSource
from launcher.estimate.recipe_sharding import accumulates_whole_gradients
from launcher.estimate.rows import DataSize
from runtime.config.options.distributed import FSDP
from runtime.config.wishes import fsdp_option

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

LARGEST = 1024
"""No micro batch beyond this is tried: long before it, a card has all the work it can take."""

# How much a change alters of what the user asked for. The first kind changes nothing but time; the others change the optimizer's arithmetic, the method,
# and the data the model sees.
_SAME, _NEARLY, _METHOD, _DATA = 1, 4, 16, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Options to set, the estimate with them, and `slower`: the time with them over the time without, None where the time is not known."""

    options: Mapping[str, Any]
    estimate: Estimate
    slower: float | None

    def to_json(self) -> dict[str, Any]:
        """The change as JSON: the options, what it then needs, and what it costs in time."""
        return {
            "set": dict(self.options),
            "per_gpu_gib": self.estimate.memory.held.to_json(3),
            "verdict": self.estimate.memory.verdict,
            "time_factor": round(self.slower, 3) if self.slower is not None else None,
        }

    def __str__(self) -> str:
        text = ", ".join(f"{name}: {_yaml(value)}" for name, value in self.options.items())
        memory = self.estimate.memory
        costs = "" if self.slower is None else f", {(self.slower - 1) * 100:+.0f} % time"
        return f"{text} ({memory.held.value:.1f} of {memory.capacity_gib:.1f} GiB, {memory.verdict}{costs})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What would help: `largest` micro batch that surely fits (None: not even 1), and `changes` with which a recipe that does not fit does.

    `settled` is the micro batch that `auto` would take, with the global batch as it is, and `slower` the time with it over the time without.
    """

    given: int
    largest: int | None
    changes: tuple[Change, ...]
    settled: int | None = None
    slower: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The advice as JSON."""
        return {
            "largest_micro_batch": self.largest,
            "auto_micro_batch": self.settled,
            "auto_time_factor": round(self.slower, 3) if self.slower is not None else None,
            "changes": [change.to_json() for change in self.changes],
        }


def advice_on(config: TrainingConfig, model: ModelSource, data: DataSize, made: Estimate) -> Advice:
    """The advice on a recipe estimated as `made`."""
    changes: list[Change] = []
    if made.memory.verdict == "does-not-fit":
        changes = changes_that_fit(config, model, made.hardware, data, now=made)
    given, largest = int(config.micro_batch_size or 1), largest_micro_batch(config, model, made.hardware, data)
    settled = slower = None
    if largest is not None:
        with_it = with_largest_batch(config, largest)
        settled = int(with_it.micro_batch_size or 1)
        # Compared with the plain estimate: what earlier runs have taught of one batch need not hold for another.
        times = [estimate(tried, model, made.hardware, data).time for tried in (with_it, config)]
        slower = times[0].hours.value / times[1].hours.value if times[0] is not None and times[1] is not None else None
    return Advice(given=given, largest=largest, changes=tuple(changes), settled=settled, slower=slower)


def largest_micro_batch(config: TrainingConfig, model: ModelSource, hardware: Hardware, data: DataSize) -> int | None:
    """The largest `micro_batch_size` that surely fits, with everything else as it is; None when not even 1 does."""

    def fits(size: int) -> bool:
        tried = config.model_copy(update={"micro_batch_size": size, "eval_batch_size": config.eval_batch_size or size})
        return memory_of(tried, model, hardware, data)[1].verdict == "fits"

    if not fits(1):
        return None
    high = 2
    while high <= LARGEST and fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def with_largest_batch(config: TrainingConfig, largest: int) -> TrainingConfig:
    """The recipe with the largest micro batch up to `largest` that divides its global batch, which stays; without a global batch, `largest` itself."""
    given = config.model_fields_set
    micro, accumulation = int(config.micro_batch_size or 1), int(config.gradient_accumulation_steps or 1)
    if config.batch_size is None and "gradient_accumulation_steps" not in given and "micro_batch_size" not in given:
        return config.model_copy(update={"micro_batch_size": largest})
    whole = int(config.batch_size) if config.batch_size else micro * accumulation
    size = next(size for size in range(min(largest, whole), 0, -1) if whole % size == 0)
    update: dict[str, Any] = {"micro_batch_size": size}
    if not config.batch_size:
        update["gradient_accumulation_steps"] = whole // size
    return config.model_copy(update=update)


def changes_that_fit(
    config: TrainingConfig, model: ModelSource, hardware: Hardware, data: DataSize, *, now: Estimate, most: int = 2
) -> list[Change]:
    """Up to `most` sets of changes with which a recipe that does not fit does, those first that alter least of what was asked for, then the fastest.

    `now` is the estimate without changes. Each set is minimal: none of its changes could be left out.
    """
    found: list[tuple[float, Change]] = []
    accepted: list[frozenset[str]] = []
    for weight, options in _sets(config, hardware):
        if len(found) >= most and weight > found[most - 1][0]:
            break
        if any(names <= options.keys() for names in accepted):
            continue
        changed = config.model_copy(update=_typed(options))
        if memory_of(changed, model, hardware, data)[1].verdict == "does-not-fit":
            continue
        tried = estimate(changed, model, hardware, data)
        accepted.append(frozenset(options))
        slower = tried.time.hours.value / now.time.hours.value if tried.time is not None and now.time is not None else None
        found.append((weight, Change(options=options, estimate=tried, slower=slower)))
    # The smallest are chosen; of those that alter equally much, the faster comes first.
    chosen = sorted(found, key=lambda item: (item[0], item[1].slower or 0.0))[:most]
    chosen.sort(key=lambda item: (bisect.bisect((_NEARLY, _METHOD - 4, _DATA), item[0]), item[1].slower or 0.0, item[0]))
    return [change for _, change in chosen]


def _sets(config: TrainingConfig, hardware: Hardware) -> Iterator[tuple[float, dict[str, Any]]]:
    """Sets of up to three changes, those that alter least first. One option appears in one change of a set only."""
    single = list(_changes(config, hardware))
    sets = []
    for size in (1, 2, 3):
        for chosen in itertools.combinations(single, size):
            names = [name for _, options in chosen for name in options]
            if len(names) == len(set(names)):
                merged = {name: value for _, options in chosen for name, value in options.items()}
                # A change more costs a little of its own, so that one larger step of the same kind comes before two.
                sets.append((sum(weight for weight, _ in chosen) + 0.5 * size, merged))
    yield from sorted(sets, key=lambda item: item[0])


def _changes(config: TrainingConfig, hardware: Hardware) -> Iterator[tuple[float, dict[str, Any]]]:
    """Every single change that may save memory, with how much it alters."""
    cuda = hardware.gpus is not None
    micro, accumulation = int(config.micro_batch_size or 1), int(config.gradient_accumulation_steps or 1)
    smaller = micro // 2
    weight = float(_SAME)
    while smaller >= 1:
        if micro % smaller == 0:
            options: dict[str, Any] = {"micro_batch_size": smaller}
            if not config.batch_size:
                options["gradient_accumulation_steps"] = accumulation * micro // smaller
            yield weight, options
            weight += 0.1
        smaller //= 2
    if config.eval_batch_size and config.eval_batch_size > 1:
        yield _SAME, {"eval_batch_size": 1}
    if cuda and config.adapter is None and accumulates_whole_gradients(config, hardware.place):
        yield (
            _SAME + 0.2,
            {"accelerator_config": _reduced_each(config)},
        )
    if not config.gradient_checkpointing:
        yield _SAME, {"gradient_checkpointing": True}
    elif config.gradient_checkpointing is True and cuda:
        yield _SAME + 1, {"gradient_checkpointing": "offload"}
    if not (config.chunked_cross_entropy or config.cut_cross_entropy or config.liger_fused_linear_cross_entropy):
        yield _SAME + 0.5, {"chunked_cross_entropy": True}
    if config.eager_attention or config.attn_implementation == "eager":
        yield _SAME, {"eager_attention": None, "attn_implementation": "sdpa"}
    optimizer = str(getattr(config.optimizer, "value", config.optimizer) or "adamw_torch_fused")
    shards = fsdp_option(config) is not None
    if cuda and hardware.processes > 1 and not shards and not config.deepspeed:
        # It takes no 8-bit optimizer, so the two never come together.
        spread: dict[str, Any] = {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}, "optimizer": "adamw_torch_fused"}
        yield _SAME + 2, spread | ({"accelerator_config": _reduced_each(config)} if config.adapter is None else {})
    if cuda and optimizer in ("adamw_torch", "adamw_torch_fused") and not shards:
        yield _NEARLY, {"optimizer": "adamw_8bit"}
        yield _NEARLY + 1, {"optimizer": "paged_adamw_8bit"}
    rank = int(config.lora_r or 16)
    if config.adapter is None:
        lora = {"lora_r": rank, "lora_alpha": config.lora_alpha or 2 * rank, "lora_target_linear": True}
        yield _METHOD, {"adapter": "lora", **lora}
        if cuda:
            yield _METHOD + 4, {"adapter": "qlora", "load_in_4bit": True, **lora}
    elif cuda and not config.load_in_4bit:
        yield _METHOD - 4, {"adapter": "qlora", "load_in_4bit": True, "load_in_8bit": False}
    length = int(config.sequence_len) // 2
    weight = float(_DATA)
    while length >= 512:
        yield weight, {"sequence_len": length}
        weight += 5
        length //= 2


def _reduced_each(config: TrainingConfig) -> dict[str, Any]:
    """accelerate's settings with gradients reduced after each micro batch."""
    return (config.accelerator_config or {}) | {"gradient_accumulation_kwargs": {"sync_each_batch": True}}


def _typed(options: dict[str, Any]) -> dict[str, Any]:
    """The options as a config holds them."""
    section = options.get("fsdp_config")
    return options | ({"fsdp_config": FSDP.model_validate(section)} if section is not None else {})


def _yaml(value: Any) -> str:
    """A value as a recipe spells it."""
    if value is None or isinstance(value, (bool, dict)):
        return json.dumps(value)
    return str(value)
