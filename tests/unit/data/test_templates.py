"""Chat templates: found by every name a recipe may use, rendered as their makers do, and tried against the tokenizer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.config.problem import UserError
from runtime.data.rendering import compile_template, render
from runtime.data.templates import chat_template_text, shipped_template, shipped_templates
from runtime.data.turn_ends import check_turn_end, eot_ids

pytestmark = pytest.mark.train

TALK = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "r"},
    {"role": "assistant", "content": "b"},
]
RENDERED = {
    "alpaca": "<s>s\n\n### Instruction:\nq\n\n### Response:\na</s>\n\n### Instruction:\nr\n\n### Response:\nb</s>\n\n",
    "chatml": "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n",
    "gemma": "<s><start_of_turn>user\ns\n\nq<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n<start_of_turn>user\nr<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\na<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nr<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>",
    "mistral_v1": "<s> [INST] s\n\nq [/INST] a</s> [INST] r [/INST] b</s>",
    "mistral_v2v3": "<s>[INST] q[/INST] a</s>[INST] s\n\nr[/INST] b</s>",
    "mistral_v3_tekken": "<s>[INST]q[/INST]a</s>[INST]s\n\nr[/INST]b</s>",
    "mistral_v7_tekken": "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]q[/INST]a</s>[INST]r[/INST]b</s>",
    "phi_3": "<|system|>\ns<|end|>\n<|user|>\nq<|end|>\n<|assistant|>\na<|end|>\n<|user|>\nr<|end|>\n<|assistant|>\nb<|end|>\n",
    "phi_4": "<|im_start|>system<|im_sep|>s<|im_end|><|im_start|>user<|im_sep|>q<|im_end|><|im_start|>assistant<|im_sep|>a<|im_end|><|im_start|>user<|im_sep|>r<|im_end|><|im_start|>assistant<|im_sep|>b<|im_end|>",
    "qwen3": "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n",
}
RENDERED |= {"gemma3": RENDERED["gemma"], "phi_35": RENDERED["phi_3"], "qwen_25": RENDERED["chatml"]}


@pytest.mark.parametrize("name", sorted(shipped_templates()))
def test_shipped_templates_write_their_model_s_format(name):
    text = render(compile_template(shipped_template(name)), TALK, {"bos_token": "<s>", "eos_token": "</s>", "tools": None})
    assert text == RENDERED[name]


def test_the_names_the_recipe_is_checked_with_are_those_there_are():
    names = json.loads((Path(__file__).parents[3] / "runtime" / "data" / "names.json").read_text())
    assert names["chat_templates"] == sorted(shipped_templates())
    assert not set(names["chat_templates"]) & set(names["chat_templates_not_built"])


def test_templates_come_from_the_tokenizer_a_name_a_text_or_a_file(tokenizer, tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text("{{ 'file' }}")
    bare = SimpleNamespace(chat_template=None)
    assert chat_template_text(tokenizer, None, None) == tokenizer.chat_template
    assert chat_template_text(tokenizer, "tokenizer_default", None) == tokenizer.chat_template
    assert chat_template_text(tokenizer, "tokenizer_default_fallback_chatml", None) == tokenizer.chat_template
    assert chat_template_text(bare, "tokenizer_default_fallback_chatml", None) == shipped_template("chatml")
    assert chat_template_text(bare, "jinja", "{{ 'text' }}") == "{{ 'text' }}"
    assert chat_template_text(bare, None, str(file)) == "{{ 'file' }}"


@pytest.mark.parametrize(
    ("name", "jinja", "told"),
    [
        ("chatmll", None, "did you mean 'chatml'"),
        (None, None, "no chat template of its own"),
        ("jinja", None, "needs the template"),
        ("jinja", "nowhere.jinja", "cannot read the chat template nowhere.jinja"),
    ],
)
def test_a_template_that_cannot_be_had_is_said(name, jinja, told):
    with pytest.raises(UserError, match=told):
        chat_template_text(SimpleNamespace(chat_template=None), name, jinja)


def test_a_broken_template_is_said_with_its_line():
    with pytest.raises(UserError, match=r"does not parse: .*line 2 of the template"):
        compile_template("x\n{% for %}")


def test_chatml_can_carry_a_system_message_of_its_own(tokenizer):
    text = chat_template_text(tokenizer, "chatml", None, default_system_message='be "kind"')
    shown = render(compile_template(text), TALK[1:3], {})
    assert shown.startswith('<|im_start|>system\nbe "kind"<|im_end|>\n<|im_start|>user\nq')
    assert render(compile_template(text), TALK[:3], {}).startswith("<|im_start|>system\ns<|im_end|>")


def test_generation_blocks_are_passed_through():
    assert render(compile_template("{% generation %}{{ messages[0].content }}{% endgeneration %}"), TALK, {}) == "s"


def test_a_turn_end_the_tokenizer_cuts_in_pieces_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"ends a turn with '<\|eot_id\|>', which this tokenizer would cut into pieces"):
        check_turn_end(tokenizer, shipped_template("llama3"), {}, frozenset(), "chat_template")
    with pytest.raises(UserError, match=r"'\[\|endofturn\|\]'"):
        check_turn_end(tokenizer, "{% for m in messages %}{{ m.content }}[|endofturn|]\n{% endfor %}", {}, frozenset(), "chat_template")


def test_a_turn_end_nobody_trains_is_warned_about(tokenizer):
    grown = copy.deepcopy(tokenizer)
    grown.add_tokens(["<|eot_id|>"])
    warned = check_turn_end(grown, shipped_template("llama3"), {}, eot_ids(grown, None), "chat_template")
    assert [problem.code for problem in warned] == ["turn-end-untrained"]
    assert check_turn_end(grown, shipped_template("llama3"), {}, eot_ids(grown, ["<|eot_id|>"]), "chat_template") == []
    assert check_turn_end(tokenizer, shipped_template("chatml"), {}, eot_ids(tokenizer, None), "chat_template") == []


def test_end_of_turn_tokens_must_be_single_tokens(tokenizer):
    assert eot_ids(tokenizer, ["<|im_end|>"]) == {tokenizer.eos_token_id}
    with pytest.raises(UserError, match="'</turn>', which is not one token"):
        eot_ids(tokenizer, ["<|im_end|>", "</turn>"])
