"""Which strategy turns the rows of a dataset into tokens, by the dataset's `type`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from runtime.config.problem import Problem, UserError
from runtime.data.chat import ChatStrategy, EndTraining
from runtime.data.completion import CompletionStrategy
from runtime.data.conversation import ConversationShape
from runtime.data.instruction import InstructionStrategy, instruction_formats, user_format
from runtime.data.ready_tokens import SegmentStrategy, TokenStrategy
from runtime.data.taught import KIND as TAUGHT_CHAT
from runtime.data.taught import TaughtStrategy
from runtime.data.templates import chat_template_text
from runtime.data.turn_ends import check_turn_end, eot_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Strategy(Protocol):
    """Makes tokens of the rows of one dataset. Picklable: batches may be encoded by several processes."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        ...

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """The samples of a batch of rows, `input_ids` and `labels`; `indices` are the rows' numbers, from 0, for messages about them."""
        ...


def strategy_for(entry: Any, config: Any, tokenizer: PreTrainedTokenizerBase, *, path: str) -> tuple[Strategy, list[Problem]]:
    """The strategy of the dataset `entry`, which is at option `path`, and warnings about it. Raises UserError for a type or setting it cannot follow."""
    kind = entry.type
    inputs = bool(config.train_on_inputs)
    if kind is None:
        return TokenStrategy(tokenizer=tokenizer), []
    if not isinstance(kind, str):
        return InstructionStrategy(tokenizer=tokenizer, form=user_format(kind, f"{path}.type"), train_on_inputs=inputs), []
    if kind in instruction_formats():
        return InstructionStrategy(tokenizer=tokenizer, form=instruction_formats()[kind], train_on_inputs=inputs), []
    if kind == "chat_template":
        return _chat(entry, config, tokenizer, path)
    if kind == TAUGHT_CHAT:
        return _taught(entry, config, tokenizer, path)
    if kind == "completion":
        return CompletionStrategy(tokenizer=tokenizer, sequence_len=config.sequence_len, column=entry.field or "text"), []
    if kind == "input_output":
        return SegmentStrategy(tokenizer=tokenizer), []
    raise UserError(unknown_type(kind, f"{path}.type"))


def unknown_type(kind: str, path: str) -> Problem:
    """What is wrong with a dataset type that has no strategy here: unknown, with the nearest name, or known and not built."""
    names = known_types()
    if names.get(kind) is False:
        return Problem(
            code="unsupported",
            message=f"dataset type '{kind}' is known, and not supported here yet",
            path=path,
            fix="write the rows as conversations and use `type: chat_template`",
        )
    if kind.startswith("sharegpt"):
        fix = "use `type: chat_template` with `field_messages: conversations` and `message_property_mappings: {role: from, content: value}`"
        return Problem(code="unknown-name", message=f"dataset type '{kind}' is gone", path=path, suggestion="chat_template", fix=fix)
    nearest = next(iter(difflib.get_close_matches(kind, names, n=1)), None)
    message = f"unknown dataset type '{kind}'" + (f"; did you mean '{nearest}'?" if nearest else "")
    return Problem(
        code="unknown-name",
        message=message,
        path=path,
        suggestion=nearest,
        fix=f"use one of {', '.join(name for name, built in names.items() if built)}",
    )


@cache
def known_types() -> dict[str, bool]:
    """Every dataset type by name, and whether it is built; kept in a data file so that the recipe can be checked without the training stack."""
    document = json.loads((Path(__file__).parent / "names.json").read_text(encoding="utf-8"))
    return {**dict.fromkeys(document["dataset_types"], True), **dict.fromkeys(document["dataset_types_not_built"], False)}


def _chat(entry: Any, config: Any, tokenizer: PreTrainedTokenizerBase, path: str) -> tuple[ChatStrategy, list[Problem]]:
    name, jinja = entry.chat_template, entry.chat_template_jinja
    where = f"{path}.chat_template"
    if name is None and jinja is None:
        name, jinja, where = config.chat_template, config.chat_template_jinja, "chat_template"
    template = chat_template_text(tokenizer, name, jinja, path=where, default_system_message=config.default_system_message)
    variables = {**tokenizer.special_tokens_map, **(config.chat_template_kwargs or {})}
    ends = eot_ids(tokenizer, config.eot_tokens)
    warnings = check_turn_end(tokenizer, template, variables, ends, where)
    on_eos: EndTraining = entry.train_on_eos or "turn"
    roles_to_train = ["assistant"] if entry.roles_to_train is None else entry.roles_to_train
    strategy = ChatStrategy(
        tokenizer=tokenizer,
        template=template,
        shape=_shape(entry),
        eos_id=tokenizer.eos_token_id,
        eot_ids=ends,
        roles_to_train=frozenset(roles_to_train),
        train_on_inputs=bool(config.train_on_inputs),
        train_on_eos=on_eos,
        train_on_eot=entry.train_on_eot or on_eos,
        variables=variables,
    )
    return strategy, warnings


def _taught(entry: Any, config: Any, tokenizer: PreTrainedTokenizerBase, path: str) -> tuple[TaughtStrategy, list[Problem]]:
    chat, warnings = _chat(entry, config, tokenizer, path)
    settings = {field.name: getattr(chat, field.name) for field in fields(chat)}
    taught = TaughtStrategy(
        **settings,
        logprobs_field=entry.logprobs_field or "logprobs",
        temperature=1.0 if entry.temperature is None else entry.temperature,
    )
    return taught, warnings


def _shape(entry: Any) -> ConversationShape:
    properties = {"role": entry.message_field_role or "role", "content": entry.message_field_content or "content"}
    properties.update(entry.message_property_mappings or {})
    thinking = entry.field_thinking or "reasoning_content"
    return ConversationShape(
        field_messages=entry.field_messages or "messages",
        field_tools=entry.field_tools or "tools",
        field_system=entry.field_system or "system",
        field_thinking=thinking,
        template_thinking_key=entry.template_thinking_key or "reasoning_content",
        properties=properties,
        roles=entry.roles,
        message_field_training=entry.message_field_training,
        message_field_training_detail=entry.message_field_training_detail,
        split_thinking=bool(entry.split_thinking),
        drop_system_message=bool(entry.drop_system_message),
    )
