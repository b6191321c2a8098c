"""What an optimizer will hold and need at its steps, found by letting one like it step over stand-ins of the parameters."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runtime.training.failure import ran_out_of_memory
from runtime.training.meter import Bytes, Meter

if TYPE_CHECKING:
    from runtime.training.optimizers.named import Named

# Those that step inside the backward pass: no gradient is ever whole, and a backward pass alone changes the weights.
STEPS_IN_BACKWARD = ("lomo",)
# What an optimizer that cannot be built anew is taken to hold: AdamW's two moments in fp32.
_GUESS_PER_ELEMENT = 8

Build = Callable[[list[dict[str, Any]], nn.Module], torch.optim.Optimizer]
_Kind = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerNeeds:
    """Bytes by device: `states` not there yet, and `temporary` ones while the optimizer steps. `fits`: there was memory enough to find out."""

    states: Bytes = field(default_factory=dict)
    temporary: Bytes = field(default_factory=dict)
    fits: bool = True


def optimizer_needs(optimizer: torch.optim.Optimizer, build: Build, names: dict[int, str], meter: Meter) -> OptimizerNeeds:
    """What `optimizer` needs beyond weights and gradients when each of its trainable parameters has a gradient.

    One parameter of each kind (device, shape, format, settings of its group) gets a stand-in, over which `build` makes a new optimizer that steps once:
    neither the parameters nor the states of `optimizer` are touched. `names` are those of the parameters by their `id`. States that lie elsewhere, as
    paged ones do, are not counted. Temporary bytes are measured, where `meter` is exact, and counted once for every parameter when the optimizer takes
    them all at once.
    """
    counted: Counter[_Kind] = Counter()
    first: dict[_Kind, tuple[nn.Parameter, dict[str, Any]]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            # A state that is there was loaded with the checkpoint, and is held already.
            if parameter.requires_grad and not optimizer.state.get(parameter):
                kind = _kind(parameter, group, names)
                counted[kind] += 1
                first.setdefault(kind, (parameter, group))
    states: Counter[str] = Counter()
    every: Counter[str] = Counter()
    largest: dict[str, int] = {}
    for kind, (parameter, group) in first.items():
        place = str(parameter.device)
        rehearsal = _Rehearsal(parameter, group, build, names.get(id(parameter), "weight"))
        before = meter.held().get(place, 0)
        reading = meter.reading_of(rehearsal)
        if not reading.ended:
            return OptimizerNeeds(fits=False)
        for device, size in rehearsal.states.items():
            states[device] += size * counted[kind]
        if meter.exact:
            stand_in = 2 * parameter.numel() * parameter.element_size()
            extra = max(0, reading.peak.get(place, 0) - before - stand_in - rehearsal.states[place])
            every[place] += extra * counted[kind] if _all_at_once(group) else 0
            largest[place] = max(largest.get(place, 0), 0 if _all_at_once(group) else extra)
    places = every.keys() | largest.keys()
    return OptimizerNeeds(states=dict(states), temporary={place: every[place] + largest.get(place, 0) for place in places})


def builder(made: torch.optim.Optimizer, named: Named | None, kind: type[Any] | None, settings: dict[str, Any]) -> Build:
    """How to make another optimizer like `made`: as one built here, with the Trainer's class and settings, or from its own defaults."""
    if named is not None:
        return named.over
    if kind is type(made):
        taken = {name: value for name, value in settings.items() if name not in ("params", "model", "optimizer_dict")}
    else:
        taken = {name: value for name, value in made.defaults.items() if name in inspect.signature(type(made)).parameters}

    def build(groups: list[dict[str, Any]], model: nn.Module) -> torch.optim.Optimizer:
        # bitsandbytes keeps full states for embeddings, and transformers asks it to.
        whole = {"optim_bits": 32} if taken.get("optim_bits") == 8 and isinstance(model, _Embedding) else {}
        another: torch.optim.Optimizer = type(made)(groups, **taken | whole)  # type: ignore[arg-type]
        return another

    return build


class _StandIn(nn.Module):
    """One parameter under nearly the name it has in the model, by which some optimizers treat it."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        super().__init__()
        self.register_parameter(name.replace(".", "_"), parameter)


class _Embedding(_StandIn):
    """One parameter of an embedding."""


class _Rehearsal:
    """A step of an optimizer like the run's over a stand-in of `parameter`. `states`: bytes of its state afterwards, by device."""

    def __init__(self, parameter: nn.Parameter, group: dict[str, Any], build: Build, name: str) -> None:
        self.states: Counter[str] = Counter()
        self._parameter, self._group, self._build, self._name = parameter, group, build, name

    def __call__(self) -> None:
        try:
            state = self._step()
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            # An optimizer of the user's own may not be made for one parameter.
            self.states[str(self._parameter.device)] += _GUESS_PER_ELEMENT * self._parameter.numel()
            return
        for tensor in _tensors(state.values()):
            if not getattr(tensor, "is_paged", False):
                self.states[str(tensor.device)] += tensor.numel() * tensor.element_size()

    def _step(self) -> dict[str, Any]:
        stand_in = nn.Parameter(torch.zeros_like(self._parameter))
        model = (_Embedding if "embed" in self._name else _StandIn)(self._name, stand_in)
        alone = self._build([{**_settings(self._group), "params": [stand_in]}], model)
        if manager := getattr(alone, "mng", None):
            # bitsandbytes keeps one table of exceptions for the whole process, by place in the groups: what the run's optimizer has there is not for this one.
            own = object.__new__(type(manager))
            own.initialize()
            alone.mng = own  # type: ignore[attr-defined]
        stand_in.grad = torch.zeros_like(stand_in)
        alone.step()
        state: dict[str, Any] = alone.state.get(stand_in, {})
        return state


def _kind(parameter: nn.Parameter, group: dict[str, Any], names: dict[int, str]) -> _Kind:
    name = names.get(id(parameter), "")
    marks = tuple(part in name for part in ("embed", "lm_head", "wte", "wpe"))
    return (str(parameter.device), tuple(parameter.shape), parameter.dtype, marks, repr(sorted(_settings(group).items())))


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """The group without what belongs to its parameters or to the run; no tensor of it is shared."""
    return {
        key: value.clone() if isinstance(value, torch.Tensor) else value
        for key, value in group.items()
        if key not in ("params", "initial_lr")
    }


def _all_at_once(group: dict[str, Any]) -> bool:
    """Whether a step makes its temporary tensors for all parameters of the group together, as torch's `foreach` does, its default on a GPU."""
    return "foreach" in group and group["foreach"] is not False and not group.get("fused")


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, dict):
            yield from _tensors(value.values())
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif hasattr(value, "__tensor_flatten__"):
            yield from _tensors(getattr(value, name) for name in value.__tensor_flatten__()[0])
        elif isinstance(value, torch.Tensor):
            yield value
