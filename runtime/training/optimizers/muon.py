"""Muon for the matrices between embedding and head, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

# Parts of the names of parameters that are matrices but no maps between hidden states; Muon's authors leave them to AdamW.
NOT_HIDDEN = ("embed", "lm_head", "wte", "wpe")


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon over the groups of matrices, torch's AdamW over the others; one list of groups and one state, as schedulers and checkpoints expect."""

    def __init__(self, groups: list[dict[str, Any]], *, hidden: set[int], lr: float, muon: dict[str, Any], adamw: dict[str, Any]) -> None:
        """`hidden` holds the ids of the parameters that are Muon's; `muon` and `adamw` are the settings of each."""
        matrices, others = _split(groups, hidden)
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, lr=lr, **muon))
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=lr, **adamw))
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._share()
        for part in self._parts:
            part.step()
        return loss

    def _share(self) -> None:
        # Loading a state replaces lists and dictionaries, so the parts are given today's.
        start = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start : start + count], self.state
            start += count


def hidden_matrices(model: nn.Module) -> set[int]:
    """The ids of the trainable matrices that map hidden states to hidden states."""
    ends = {id(parameter) for module in _ends(model) for parameter in module.parameters()}
    return {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim == 2 and id(parameter) not in ends and not any(part in name for part in NOT_HIDDEN)
    }


def _ends(model: nn.Module) -> list[nn.Module]:
    found = [getattr(model, getter, lambda: None)() for getter in ("get_input_embeddings", "get_output_embeddings")]
    return [module for module in found if isinstance(module, nn.Module)]


def _split(groups: list[dict[str, Any]], hidden: set[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    parts: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for group in groups:
        for index, wanted in enumerate((True, False)):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in hidden) is wanted]
            if chosen:
                parts[index].append(group | {"params": chosen})
    return parts
