"""Learning rates that differ between parts of a model: the optimizer's parameter groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The recipe's own learning rates beside `base`."""

    base: float
    embedding: float | None = None
    adapter_b: float | None = None
    adapter_embedding: float | None = None
    groups: tuple[tuple[str, tuple[str, ...], float], ...] = ()

    @property
    def uniform(self) -> bool:
        """Whether everything learns at `base`."""
        return self.embedding is None and self.adapter_b is None and not self.groups


def rates_of(config: Any) -> Rates:
    """The rates in a recipe: `embedding_lr(_scale)`, LoRA+ (`loraplus_lr_ratio` times the base for the B matrices) and `lr_groups`."""
    base = float(config.learning_rate)
    embedding = (
        config.embedding_lr if config.embedding_lr is not None else base * config.embedding_lr_scale if config.embedding_lr_scale else None
    )
    plus = config.loraplus_lr_ratio
    return Rates(
        base=base,
        embedding=embedding,
        adapter_b=base * plus if plus else None,
        adapter_embedding=(config.loraplus_lr_embedding or 1e-6) if plus else None,
        groups=tuple((group.name, tuple(group.modules), float(group.lr)) for group in config.lr_groups or ()),
    )


def parameter_groups(model: nn.Module, rates: Rates, *, weight_decay: float, decayed: set[str]) -> list[dict[str, Any]]:
    """The trainable parameters by learning rate and weight decay; `decayed` names those that decay.

    The first rule that names a parameter decides: `lr_groups` in their order, embeddings and head, LoRA+. Raises UserError for a group without any.
    """
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, group = _rate(name, rates)
        used.add(group)
        found.setdefault((rate, weight_decay if name in decayed else 0.0), []).append(parameter)
    missing = [name for name, _, _ in rates.groups if name not in used]
    if missing:
        raise UserError(
            Problem(
                code="unknown-name",
                path="lr_groups",
                message=f"the group {missing[0]!r} names no trainable parameter",
                fix="`modules` are parts of parameter names, such as q_proj",
            )
        )
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in found.items()]


def _rate(name: str, rates: Rates) -> tuple[float, str]:
    for group, modules, rate in rates.groups:
        if any(module in name for module in modules):
            return rate, group
    if rates.adapter_b is not None:
        if "lora_embedding" in name:
            return rates.adapter_embedding or rates.base, ""
        if "lora_B" in name:
            return rates.adapter_b, ""
    if rates.embedding is not None and any(part in name for part in ("embed_tokens", "lm_head", "wte")):
        return rates.embedding, ""
    return rates.base, ""
