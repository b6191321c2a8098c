"""The lists of names are those of the installed libraries."""

from __future__ import annotations

import pytest

from runtime.config import choices

pytestmark = pytest.mark.train


def test_optimizers_are_those_of_transformers_and_those_built_here() -> None:
    from transformers.training_args import OptimizerNames

    from runtime.config.rules.naming import FORGETFUL
    from runtime.training.optimizers.named import NAMES

    theirs = {name.value for name in OptimizerNames}
    assert choices.optimizers().built == (theirs | NAMES) - set(FORGETFUL)
    assert set(FORGETFUL) <= theirs & choices.optimizers().known
    assert set(FORGETFUL.values()) <= choices.optimizers().built


def test_schedules_are_those_of_transformers_and_those_built_here() -> None:
    from transformers.trainer_utils import SchedulerType

    from runtime.training.schedule import OWN

    assert choices.schedulers().built == {name.value for name in SchedulerType} | OWN


def test_attention_implementations_are_known_to_transformers() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    assert choices.attention().built - {"eager"} <= set(ALL_ATTENTION_FUNCTIONS.keys())


def test_ways_to_compute_experts_are_those_of_transformers() -> None:
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    assert choices.experts().built == {"eager", *ALL_EXPERTS_FUNCTIONS.keys()}


def test_dataset_types_and_templates_are_those_the_data_half_builds() -> None:
    from runtime.data.strategies import known_types
    from runtime.data.templates import shipped_templates

    assert choices.dataset_types().built == {name for name, built in known_types().items() if built}
    assert choices.chat_templates().built == {*shipped_templates(), "tokenizer_default", "jinja"}


def test_nothing_is_both_built_and_not() -> None:
    for known in (
        choices.optimizers(),
        choices.schedulers(),
        choices.attention(),
        choices.adapters(),
        choices.experts(),
        choices.dataset_types(),
        choices.chat_templates(),
    ):
        assert not known.built & known.known, known.what
