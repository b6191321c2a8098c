"""Which type of dataset does what, and the types of one instruction and one response."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.data.instruction import instruction_formats
from runtime.data.strategies import known_types, strategy_for

pytestmark = pytest.mark.train


def strategy(recipe: Any, tokenizer: Any, kind: Any, **options: Any) -> Any:
    config = recipe(datasets=[{"path": "x", "type": kind}], **options)
    return strategy_for(config.datasets[0], config, tokenizer, path="datasets[0]")[0]


def shown(made: Any, row: dict[str, Any]) -> tuple[str, str]:
    """(masked text, trained text) of one row."""
    table = made.encode({key: [value] for key, value in row.items()}, [0]).to_pydict()
    pairs = list(zip(table["input_ids"][0], table["labels"][0], strict=True))
    decode = made.tokenizer.decode
    return decode([token for token, label in pairs if label == -100]), decode([token for token, label in pairs if label != -100])


def test_every_name_said_to_be_built_is(recipe, tokenizer):
    for name, built in known_types().items():
        if built:
            assert strategy(recipe, tokenizer, name).columns
    assert set(instruction_formats()) <= {name for name, built in known_types().items() if built}


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("alpacca", "unknown-name", "did you mean 'alpaca'"),
        ("chat_templat", "unknown-name", "did you mean 'chat_template'"),
        ("metharme", "unsupported", "not supported here yet"),
        ("sharegpt", "unknown-name", "message_property_mappings: {role: from, content: value}"),
    ],
)
def test_an_unknown_type_is_said_with_the_nearest(recipe, tokenizer, kind, code, told):
    with pytest.raises(UserError) as caught:
        strategy(recipe, tokenizer, kind)
    assert caught.value.problems[0].code == code
    assert caught.value.problems[0].path == "datasets[0].type"
    assert told in str(caught.value)


def test_an_input_that_is_empty_or_not_there_is_the_same(recipe, tokenizer):
    made = strategy(recipe, tokenizer, "alpaca")
    assert shown(made, {"instruction": "say", "output": "yes"}) == shown(made, {"instruction": "say", "input": "", "output": "yes"})
    assert "### Input:\nthis" in shown(made, {"instruction": "say", "input": "this", "output": "yes"})[0]


def test_prompts_are_trained_only_when_asked(recipe, tokenizer):
    row = {"instruction": "say", "output": "yes"}
    assert shown(strategy(recipe, tokenizer, "alpaca"), row)[1] == "yes<|im_end|>"
    assert shown(strategy(recipe, tokenizer, "alpaca", train_on_inputs=True), row)[0] == ""


def test_a_format_of_one_s_own(recipe, tokenizer):
    kind = {
        "field_instruction": "q",
        "field_input": "c",
        "field_output": "a",
        "system_prompt": "kind",
        "system_format": "[{system}]",
        "format": "{instruction}|{input}>",
        "no_input_format": "{instruction}>",
    }
    made = strategy(recipe, tokenizer, kind)
    assert made.columns == ("q", "a")
    assert shown(made, {"q": "what", "c": "this", "a": "yes"}) == ("[kind]what|this>", "yes<|im_end|>")
    assert shown(made, {"q": "what", "c": None, "a": "yes"}) == ("[kind]what>", "yes<|im_end|>")
    assert shown(made, {"q": "what", "c": "", "a": "yes", "system": "mean"})[0] == "[mean]what>"


def test_braces_in_a_format_are_text_when_doubled(recipe, tokenizer):
    made = strategy(recipe, tokenizer, {"format": "{{x}} {instruction}:"})
    assert shown(made, {"instruction": "say {this}", "output": "{yes}"}) == ("{x} say {this}:", "{yes}<|im_end|>")


@pytest.mark.parametrize(
    "form", [{"format": "{instructon}"}, {"format": "{instruction"}, {"no_input_format": "{instruction} {input}"}, {"system_format": "{}"}]
)
def test_a_format_that_cannot_be_filled_is_refused(recipe, tokenizer, form):
    with pytest.raises(UserError, match=r"datasets\[0\].type.\w+ has braces it cannot fill"):
        strategy(recipe, tokenizer, form)


def test_segments_say_themselves_what_is_trained(recipe, tokenizer):
    made = strategy(recipe, tokenizer, "input_output")
    assert shown(made, {"segments": [{"text": "q:", "label": False}, {"text": " hello", "label": True}]}) == ("q:", " hello")
    with pytest.raises(UserError, match="row 1"):
        shown(made, {"segments": ["q"]})
