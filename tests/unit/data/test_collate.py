"""Batches: padding, masks, and packed rows that train as their samples would alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runtime.config.problem import UserError
from runtime.data.collate import Collator, collator_for

pytestmark = pytest.mark.train


def row(ids: list[int], labels: list[int] | None = None, positions: list[int] | None = None) -> dict[str, Any]:
    return {"input_ids": ids, "labels": labels or ids, "attention_mask": [1] * len(ids), "position_ids": positions or list(range(len(ids)))}


def test_single_samples_are_padded_on_the_right_and_masked():
    batch = Collator(pad_token_id=9, multiple_of=4)([row([1, 2, 3]), row([4], [-100])])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9], [4, 9, 9, 9]]
    assert batch["labels"].tolist() == [[1, 2, 3, -100], [-100, -100, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert "position_ids" not in batch


def test_packed_rows_have_positions_and_no_mask():
    batch = Collator(pad_token_id=9, packed=True, length=8)([row([1, 2, 3, 4, 5], positions=[0, 1, 2, 0, 1])])
    assert sorted(batch) == ["input_ids", "labels", "position_ids"]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert batch["labels"].tolist() == [[-100, 2, 3, -100, 5, -100, -100, -100]]


def test_rows_can_be_put_behind_each_other_without_holes():
    batch = Collator(pad_token_id=9, packed=True, flatten=True, multiple_of=4)([row([1, 2, 3]), row([4, 5])])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 9, 9, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (False, False, None)),
        ({"sample_packing": True}, (True, False, 64)),
        ({"sample_packing": True, "pad_to_sequence_len": False}, (True, False, None)),
        ({"pad_to_sequence_len": True}, (False, False, 64)),
        ({"sample_packing": True, "flash_attention": True}, (True, True, 64)),
        ({"sample_packing": True, "attn_implementation": "flash_attention_2"}, (True, True, 64)),
        ({"batch_flattening": True, "flash_attention": True}, (True, True, None)),
        ({"sample_packing": True, "multipack_real_batches": True}, (True, False, 64)),
        ({"sample_packing": True, "multipack_real_batches": False}, (True, True, 64)),
    ],
)
def test_the_recipe_decides_how_rows_become_batches(recipe, options, expected):
    made = collator_for(recipe(**options), SimpleNamespace(pad_token_id=3, eos_token_id=1))
    assert (made.packed, made.flatten, made.length) == expected


def test_borders_are_those_transformers_own_collator_gives():
    from transformers import DataCollatorWithFlattening

    rows = [row([1, 2, 3]), row([4, 5]), row([6, 7, 8])]
    theirs = DataCollatorWithFlattening(return_flash_attn_kwargs=True)([{"input_ids": one["input_ids"]} for one in rows])
    made = Collator(pad_token_id=9, packed=True, flatten=True, multiple_of=8, borders=True)(rows)
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        assert made[name].dtype == theirs[name].dtype
        assert made[name].tolist() == theirs[name].tolist() == [0, 3, 5, 8]
    assert made["max_length_q"] == made["max_length_k"] == theirs["max_length_q"] == 3
    padded = Collator(pad_token_id=9, packed=True, flatten=True, multiple_of=16, borders=True)(rows)
    assert (padded["cu_seq_lens_q"].tolist(), padded["max_length_q"]) == ([0, 3, 5, 8, 16], 8)
    assert "cu_seq_lens_q" not in Collator(pad_token_id=9, packed=True, flatten=True)(rows)


def test_borders_without_an_attention_that_takes_them_are_refused(recipe):
    tokenizer = SimpleNamespace(pad_token_id=3)
    asked = {"fa_varlen_kwargs_in_collator": True, "sample_packing": True}
    assert collator_for(recipe(**asked, flash_attention=True), tokenizer).borders
    for given in ({"sdp_attention": True}, {"flash_attention": True, "sample_packing": False}):
        with pytest.raises(UserError, match="only flash attention"):
            collator_for(recipe(**{**asked, **given}), tokenizer)


def test_packed_rows_side_by_side_are_refused_for_flash_attention(recipe):
    with pytest.raises(UserError, match="one long row"):
        collator_for(recipe(sample_packing=True, multipack_real_batches=True, flash_attention=True), SimpleNamespace(pad_token_id=3))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("flatten", [False, True])
def test_losses_of_packed_samples_are_those_of_samples_alone(attention, flatten):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM._from_config(LlamaConfig(**shape), attn_implementation=attention).eval()
    samples = [torch.randint(4, 50, (length,)).tolist() for length in (7, 3, 11, 5)]

    def losses(batch: dict[str, torch.Tensor]) -> list[float]:
        labels = batch["labels"]
        with torch.no_grad():
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
        return sorted(each[labels[:, 1:] != -100].tolist())

    alone = Collator(pad_token_id=0)([row(sample) for sample in samples])
    packs = [
        row(samples[0] + samples[1], positions=[*range(7), *range(3)]),
        row(samples[2] + samples[3], positions=[*range(11), *range(5)]),
    ]
    packed = Collator(pad_token_id=0, packed=True, flatten=flatten, length=20)(packs)
    assert losses(packed) == pytest.approx(losses(alone), abs=1e-5)
