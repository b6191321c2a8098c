"""How a recipe's words become shards, copies and accelerate's settings."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.training.sharding.settings import sharding_of

SHARDS = {"fsdp_config": {"reshard_after_forward": True}}


def recipe(**values: Any) -> TrainingConfig:
    """A recipe with these options."""
    return TrainingConfig.model_validate(
        {"base_model": "m", "learning_rate": 1e-5, "datasets": [{"path": "a", "type": "alpaca"}], **values}
    )


def test_nothing_is_sharded_without_being_asked_for_or_with_nobody_to_share_with() -> None:
    assert sharding_of(recipe(), world_size=8) is None
    assert sharding_of(recipe(fsdp_config={}), world_size=8) is None
    assert sharding_of(recipe(**SHARDS), world_size=1) is None
    assert sharding_of(recipe(**SHARDS), world_size=2) is not None


@pytest.mark.parametrize(
    ("values", "shards", "replicas"),
    [({}, 8, 1), ({"dp_shard_size": 4}, 4, 2), ({"dp_replicate_size": 4}, 2, 4), ({"dp_shard_size": 2, "dp_replicate_size": 4}, 2, 4)],
)
def test_a_size_that_is_not_said_takes_what_the_other_leaves(values: dict[str, int], shards: int, replicas: int) -> None:
    sharding = sharding_of(recipe(**SHARDS, **values), world_size=8)
    assert sharding is not None
    assert (sharding.shards, sharding.replicas) == (shards, replicas)


@pytest.mark.parametrize(
    ("values", "world_size", "said"),
    [
        ({"dp_shard_size": 3}, 8, r"dp_shard_size \(3\) does not make the 8 processes"),
        ({"dp_shard_size": 2, "dp_replicate_size": 2}, 8, r"dp_replicate_size \(2\) × dp_shard_size \(2\) does not make"),
        ({"dp_replicate_size": 8}, 8, "each of the 8 processes would hold a whole copy"),
        ({"fsdp_config": {"offload_params": True}}, 1, "this run of one process does not use"),
    ],
)
def test_sizes_that_do_not_make_the_processes_are_refused(values: dict[str, Any], world_size: int, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        sharding_of(recipe(**{**SHARDS, **values}), world_size=world_size)
    assert caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"fsdp_config": {"reshard_after_forward": False}}, {"reshard_after_forward": False}),
        ({"fsdp_config": {"sharding_strategy": "SHARD_GRAD_OP"}}, {"reshard_after_forward": False}),
        ({"fsdp": ["shard_grad_op", "auto_wrap"]}, {"reshard_after_forward": False}),
        ({"fsdp": ["full_shard", "offload"]}, {"reshard_after_forward": True, "cpu_offload": True}),
        ({"fsdp_config": {"offload_params": True}}, {"cpu_offload": True, "cpu_ram_efficient_loading": False}),
        ({"fsdp_config": {"cpu_ram_efficient_loading": True}}, {"cpu_ram_efficient_loading": True}),
        (
            {"fsdp_config": {"transformer_layer_cls_to_wrap": "LlamaDecoderLayer, Other"}},
            {"transformer_cls_names_to_wrap": ["LlamaDecoderLayer", "Other"]},
        ),
    ],
)
def test_the_words_of_a_recipe_reach_accelerate(values: dict[str, Any], expected: dict[str, Any]) -> None:
    sharding = sharding_of(recipe(**values), world_size=4)
    assert sharding is not None
    assert expected.items() <= sharding.plugin.items()
    assert sharding.plugin["fsdp_version"] == 2


def test_what_accelerate_has_no_argument_for_is_kept_beside_it() -> None:
    plain = sharding_of(recipe(**SHARDS), world_size=2)
    said = sharding_of(
        recipe(
            fsdp_config={
                "offload_params": True,
                "cpu_offload_pin_memory": False,
                "mixed_precision_policy": "bf16",
                "state_dict_type": "FULL_STATE_DICT",
            }
        ),
        world_size=2,
    )
    assert plain is not None
    assert said is not None
    assert (plain.pinned, plain.computes, plain.all_write, plain.offloaded) == (True, None, True, False)
    assert (said.pinned, said.computes, said.all_write, said.offloaded) == (False, "bf16", False, True)
