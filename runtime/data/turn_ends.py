"""The tokens that end a turn: which they are, and whether the template and the tokenizer agree on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from runtime.config.problem import Problem, UserError
from runtime.data.rendering import compile_template, render
from runtime.data.tokenizing import single_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = re.compile(r"\s{0,2}(<\|[^|<>\s]+\|>|\[\|[^|\[\]\s]+\|\]|<[/a-z_A-Z][^<>\s]*>|\[/[A-Z_]+\])")


def eot_ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str] | None) -> frozenset[int]:
    """Ids of the tokens that end a turn: `eot_tokens`, the end token when there are none. Raises UserError for one that is not a single token."""
    if not tokens:
        return frozenset() if tokenizer.eos_token_id is None else frozenset({int(tokenizer.eos_token_id)})
    ids = {token: single_token(tokenizer, token) for token in tokens}
    problems = [
        Problem(
            code="unknown-token",
            message=f"eot_tokens has '{token}', which is not one token of this tokenizer",
            path="eot_tokens",
            fix=f"add it with `tokens: ['{token}']`, or name the token that ends a turn in this model's template",
        )
        for token, found in ids.items()
        if found is None
    ]
    if problems:
        raise UserError(problems)
    return frozenset(found for found in ids.values() if found is not None)


def check_turn_end(
    tokenizer: PreTrainedTokenizerBase, template: str, variables: Mapping[str, Any], ends: frozenset[int], path: str
) -> list[Problem]:
    """Warnings about how the template ends an assistant turn.

    Raises UserError when it writes an end mark the tokenizer would cut in pieces: a part of the mark would be trained, and the stop token never.
    """
    probe = "\ue0a0\ue0a1"
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": probe}]
    try:
        text = render(compile_template(template), messages, {**variables, "tools": None})
    except jinja2.TemplateError:
        return []
    found = _MARK.match(text[text.rfind(probe) + len(probe) :]) if probe in text else None
    if found is None:
        return []
    mark = found[1]
    token = single_token(tokenizer, mark)
    if token is None:
        raise UserError(
            Problem(
                code="conflict",
                message=f"the chat template ends a turn with '{mark}', which this tokenizer would cut into pieces: the model would never learn to stop",
                path=path,
                fix=f"choose the template this tokenizer was made for, or add the token: `tokens: ['{mark}']` and `special_tokens: {{eos_token: '{mark}'}}`",
            )
        )
    if token not in ends | {tokenizer.eos_token_id}:
        return [
            Problem(
                code="turn-end-untrained",
                message=f"the chat template ends a turn with '{mark}', which is neither the end token ('{tokenizer.eos_token}') nor in eot_tokens: it is not trained",
                path=path,
                fix=f"add `eot_tokens: ['{mark}']`",
            )
        ]
    return []
