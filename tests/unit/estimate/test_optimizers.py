"""What optimizers keep: every one a recipe may name has an entry, and torch's own hold what the entries say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import runtime.config
from launcher.estimate.architectures import facts_from_config
from launcher.estimate.known_models import known_config
from launcher.estimate.optimizer_kinds import KINDS, kind_of
from launcher.estimate.optimizer_state import state_bytes, step_bytes
from launcher.estimate.workload import Adapter, Workload

CHOICES = json.loads((Path(runtime.config.__file__).parent / "choices.json").read_text(encoding="utf-8"))
FACTS = facts_from_config(known_config("meta-llama/Llama-3.1-8B") or {})
FULL = Workload(adapter=None)


def test_every_optimizer_of_a_recipe_has_an_entry() -> None:
    assert set(CHOICES["optimizers"]) <= set(KINDS)


@pytest.mark.parametrize("name", CHOICES["optimizers"])
def test_no_optimizer_needs_more_than_plain_adamw_with_compensation(name: str) -> None:
    # Three states and two copies at most, in the weights' format or fp32.
    workload = replace(FULL, optimizer=name)
    assert 0 <= state_bytes(FACTS, workload) <= 12 * FACTS.parameters
    assert 0 <= step_bytes(FACTS, workload) <= 12 * FACTS.parameters


def test_bitsandbytes_keeps_full_states_for_the_embedding() -> None:
    narrow = state_bytes(FACTS, replace(FULL, optimizer="adamw_bnb_8bit"))
    others = FACTS.parameters - FACTS.embedding_parameters
    assert narrow == pytest.approx(8 * FACTS.embedding_parameters + (2 + 8 / 256) * others)
    adapter = replace(FULL, optimizer="adamw_bnb_8bit", adapter=Adapter(rank=8, saved_modules=("embed_tokens",)))
    assert state_bytes(FACTS, adapter) > 8 * FACTS.embedding_parameters


def test_muon_keeps_one_state_for_hidden_matrices_and_two_for_the_rest() -> None:
    hidden = sum(count * matrix.weights for count, matrix in FACTS.matrices())
    assert state_bytes(FACTS, replace(FULL, optimizer="muon")) == 2 * (hidden + 2 * (FACTS.parameters - hidden))


def test_a_lower_rank_needs_less_state() -> None:
    needs = [state_bytes(FACTS, replace(FULL, optimizer="galore_adamw", projected_rank=rank)) for rank in (16, 128, 1024)]
    assert needs == sorted(needs)
    assert needs[-1] < state_bytes(FACTS, replace(FULL, optimizer="adamw_torch"))
    some = replace(FULL, optimizer="apollo_adamw", projected_modules=("mlp",))
    assert state_bytes(FACTS, replace(some, projected_modules=None)) < state_bytes(FACTS, some)


def test_an_unknown_optimizer_counts_as_adamw() -> None:
    assert kind_of("something_new") is KINDS["adamw_torch"]


@pytest.mark.train
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize(
    ("name", "kind"), [("adamw_torch", "AdamW"), ("sgd", "SGD"), ("adagrad", "Adagrad"), ("rmsprop", "RMSprop"), ("muon", "Muon")]
)
def test_entries_agree_with_torchs_optimizers(name: str, kind: str, width: int) -> None:
    import torch

    weight = torch.nn.Parameter(torch.zeros(64, 32, dtype=torch.bfloat16 if width == 2 else torch.float32))
    weight.grad = torch.ones_like(weight)
    optimizer = getattr(torch.optim, kind)([weight], lr=0.1)
    optimizer.step()
    held = sum(
        value.numel() * value.element_size()
        for value in optimizer.state[weight].values()
        if isinstance(value, torch.Tensor) and value.numel() == weight.numel()
    )
    assert held == KINDS[name].copies * width * weight.numel()
