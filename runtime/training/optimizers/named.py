"""The optimizers that are built here: each name, its class and the settings it takes from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

Groups = list[dict[str, Any]]
Build = Callable[[Groups, "nn.Module", dict[str, Any]], "torch.optim.Optimizer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An optimizer to build over parameter groups, which bring learning rate and weight decay along."""

    name: str
    settings: dict[str, Any]

    def over(self, groups: Groups, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer. Raises UserError when it refuses its settings."""
        try:
            return _BUILD[self.name](groups, model, dict(self.settings))
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(
                Problem(
                    code="wrong-type",
                    path="optim_args" if isinstance(error, TypeError) else "optimizer",
                    message=f"'{self.name}' refuses these settings: {(str(error).splitlines() or ['a value is out of its range'])[0]}",
                    fix="see the optimizer's own documentation for its settings",
                )
            ) from error


def named_optimizer(config: Any) -> Named | None:
    """The recipe's optimizer where it is one built here, None for one of transformers'.

    AdamW-like ones take `adam_beta1`, `adam_beta2` and `adam_epsilon` with AdamW's defaults, CAME, Lion and ADOPT keep the defaults of their
    papers for what is unset. `optim_args` wins over all of it.
    """
    name = str(getattr(config.optimizer, "value", config.optimizer))
    if name not in _BUILD:
        return None
    first, second, epsilon = config.adam_beta1, config.adam_beta2, config.adam_epsilon
    settings: dict[str, Any] = {"lr": float(config.learning_rate)}
    if name == "came_pytorch":
        settings["betas"] = (_or(first, 0.9), _or(second, 0.999), _or(config.adam_beta3, 0.9999))
        settings["eps"] = (_or(epsilon, 1e-30), _or(config.adam_epsilon2, 1e-16))
    elif name == "lion_pytorch":
        settings["betas"] = (_or(first, 0.9), _or(second, 0.99))
    elif name == "adopt_adamw":
        settings |= {"betas": (_or(first, 0.9), _or(second, 0.9999)), "eps": _or(epsilon, 1e-6)}
    else:
        settings |= {"betas": (_or(first, 0.9), _or(second, 0.999)), "eps": _or(epsilon, 1e-8)}
    return Named(name=name, settings=settings | arguments_of(config.optim_args))


def arguments_of(given: str | dict[str, Any] | None) -> dict[str, Any]:
    """`optim_args` as a mapping; the text form is `key=value, key=value`, its values read as YAML reads them."""
    if not given:
        return {}
    if isinstance(given, dict):
        return dict(given)
    import yaml

    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    return {key.strip(): yaml.safe_load(value) for key, _, value in pairs}


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _muon(groups: Groups, model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    from runtime.training.optimizers.muon import MuonWithAdamW, hidden_matrices

    adamw = {name: settings.pop(name) for name in ("betas", "eps")} | {"fused": True}
    # The size of an update is AdamW's then, so that both parts share one learning rate: https://arxiv.org/abs/2502.16982.
    muon = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}
    return MuonWithAdamW(groups, hidden=hidden_matrices(model), lr=settings.pop("lr"), muon=muon | settings, adamw=adamw)


def _torchao(kind: str) -> Build:
    def build(groups: Groups, _: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
        import torchao.optim

        made: torch.optim.Optimizer = getattr(torchao.optim, kind)(groups, **settings)
        return made

    return build


def _optimi(groups: Groups, _: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    from optimi import AdamW

    return AdamW(groups, **settings)


def _lion(groups: Groups, _: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    from lion_pytorch import Lion

    return Lion(groups, **settings)


def _came(groups: Groups, _: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    from came_pytorch import CAME

    return CAME(groups, **settings)


def _adopt(groups: Groups, _: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    from pytorch_optimizer import ADOPT

    # The "W" of its name: weight decay acts on the weights, not on the gradient.
    return ADOPT(groups, **({"weight_decouple": True} | settings))


_BUILD: dict[str, Build] = {
    "muon": _muon,
    "ao_adamw_4bit": _torchao("AdamW4bit"),
    "ao_adamw_8bit": _torchao("AdamW8bit"),
    "ao_adamw_fp8": _torchao("AdamWFp8"),
    "optimi_adamw": _optimi,
    "lion_pytorch": _lion,
    "came_pytorch": _came,
    "adopt_adamw": _adopt,
}
NAMES = frozenset(_BUILD)
