"""A row of chat data as turns a template can render: roles and keys mapped, thinking split off, training marks read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.data.traced import Traced

DEFAULT_ROLES: Mapping[str, tuple[str, ...]] = {
    "user": ("human", "user"),
    "assistant": ("gpt", "assistant"),
    "system": ("system",),
    "tool": ("tool",),
}

# The delimiters reasoning models write around their thoughts (Qwen3 and DeepSeek-R1; Reflection-style data; Sky-T1 and OpenThoughts).
_THOUGHTS = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_ANSWERS = ("<|begin_of_solution|>", "<|end_of_solution|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """Whether the characters `begin` to `end`, both included, of a turn's content are trained on."""

    begin: int
    end: int
    train: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message as the template gets it, with what its row says about training on it; None leaves that to the role."""

    role: str
    message: dict[str, Any]
    training: bool | None = None
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationShape:
    """Where the parts of a conversation are in a row; the fields are the dataset options of the same names."""

    field_messages: str = "messages"
    field_tools: str = "tools"
    field_system: str = "system"
    field_thinking: str = "reasoning_content"
    template_thinking_key: str = "reasoning_content"
    properties: Mapping[str, str] = field(default_factory=lambda: {"role": "role", "content": "content"})
    roles: Mapping[str, Sequence[str]] | None = None
    message_field_training: str | None = None
    message_field_training_detail: str | None = None
    split_thinking: bool = False
    drop_system_message: bool = False

    def turns(self, row: Mapping[str, Any]) -> list[Turn]:
        """The conversation of `row`. Raises ValueError, in words for the user, when the row does not have this shape."""
        messages = row.get(self.field_messages)
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise ValueError(f"`{self.field_messages}` must be a list of messages with at least one in it, found {_shown(messages)}")
        turns = [self._turn(index, message) for index, message in enumerate(messages)]
        system = row.get(self.field_system)
        if isinstance(system, str) and system and turns[0].role != "system":
            turns.insert(0, Turn(role="system", message={"role": "system", "content": system}))
        if self.drop_system_message:
            turns = [turn for turn in turns if turn.role != "system"]
        if not turns:
            raise ValueError("nothing is left of the conversation without its system message")
        return [_traced(turn, index, self.template_thinking_key) for index, turn in enumerate(turns)]

    def tools(self, row: Mapping[str, Any]) -> list[Any] | None:
        """The tool schemas of `row`, None when it has none. Raises ValueError when they are not a list of objects."""
        tools = row.get(self.field_tools)
        if isinstance(tools, str) and tools.strip():
            try:
                tools = json.loads(tools)
            except ValueError as error:
                raise ValueError(f"`{self.field_tools}` is text that is not JSON: {error}") from None
        if not tools:
            return None
        if not isinstance(tools, list):
            raise ValueError(f"`{self.field_tools}` must be a list of tool schemas, found {_shown(tools)}")
        return [_without_nulls(json.loads(tool) if isinstance(tool, str) else tool) for tool in tools]

    def _turn(self, index: int, raw: Any) -> Turn:
        if not isinstance(raw, Mapping):
            raise ValueError(f"message {index} of `{self.field_messages}` must be an object with a role and content, found {_shown(raw)}")
        source_role, source_content = self.properties.get("role", "role"), self.properties.get("content", "content")
        if raw.get(source_role) is None:
            raise ValueError(
                f"message {index} of `{self.field_messages}` has no `{source_role}`; its keys are {', '.join(map(str, raw))}. "
                "Name the keys of your data in `message_property_mappings: {role: …, content: …}`"
            )
        renamed = set(self.properties.values())
        marks = {self.message_field_training, self.message_field_training_detail}
        message: dict[str, Any] = {
            key: _without_nulls(value) for key, value in raw.items() if value is not None and key not in renamed and key not in marks
        }
        message.update({target: _without_nulls(raw[source]) for target, source in self.properties.items() if raw.get(source) is not None})
        message["role"] = self._role(str(raw[source_role]))
        details = self._details(index, raw)
        content, part_details = _flattened(raw.get(source_content))
        message["content"] = content
        if self.field_thinking != self.template_thinking_key and self.field_thinking in message:
            message[self.template_thinking_key] = message.pop(self.field_thinking)
        if self.split_thinking and message["role"] == "assistant":
            _split_thoughts(message, self.template_thinking_key)
        if "tool_calls" in message:
            message["tool_calls"] = [_parsed_call(call) for call in message["tool_calls"]]
        training = raw.get(self.message_field_training) if self.message_field_training else None
        return Turn(
            role=message["role"], message=message, training=None if training is None else bool(training), details=details or part_details
        )

    def _role(self, name: str) -> str:
        for target, sources in (self.roles or DEFAULT_ROLES).items():
            if name in sources:
                return target
        return name

    def _details(self, index: int, raw: Mapping[str, Any]) -> tuple[Detail, ...]:
        key = self.message_field_training_detail
        details = raw.get(key) if key else None
        if not details:
            return ()
        try:
            return tuple(
                Detail(begin=int(item["begin_offset"]), end=int(item["end_offset"]), train=bool(item["train"])) for item in details
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"`{key}` of message {index} must be a list of {{begin_offset, end_offset, train}}, found {_shown(details)}"
            ) from None


def _traced(turn: Turn, index: int, thinking_key: str) -> Turn:
    message = dict(turn.message)
    for key in ("content", thinking_key):
        if isinstance(message.get(key), str):
            message[key] = Traced.of(message[key], index, key)
    return Turn(role=turn.role, message=message, training=turn.training, details=turn.details)


def _flattened(content: Any) -> tuple[Any, tuple[Detail, ...]]:
    """Content as one text, with the training marks (`train`, or a `weight` of 0) of its parts; parts that are not text stay a list."""
    if content is None:
        return "", ()
    if not isinstance(content, list) or not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        return _without_nulls(content), ()
    marked = any(part.get("train") is not None or part.get("weight") is not None for part in content)
    text, details = "", []
    for part in content:
        train = part["train"] if part.get("train") is not None else part.get("weight") != 0
        if marked and part["text"]:
            details.append(Detail(begin=len(text), end=len(text) + len(part["text"]) - 1, train=bool(train)))
        text += part["text"]
    return text, tuple(details)


def _split_thoughts(message: dict[str, Any], thinking_key: str) -> None:
    content = message["content"]
    if not isinstance(content, str) or message.get(thinking_key):
        return
    for opening, closing in _THOUGHTS:
        found = re.match(rf"\s*{re.escape(opening)}(.*?){re.escape(closing)}(.*)\Z", content, re.DOTALL)
        if found:
            answer = found[2].strip()
            if answer.startswith(_ANSWERS[0]):
                answer = answer.removeprefix(_ANSWERS[0]).removesuffix(_ANSWERS[1]).strip()
            message[thinking_key], message["content"] = found[1].strip(), answer
            return


def _parsed_call(call: Any) -> Any:
    """A tool call whose arguments are an object: templates write them as JSON, and would quote a text twice."""
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError:
            return call
    return {**call, "function": function}


def _without_nulls(value: Any) -> Any:
    """The value without keys whose value is null: columnar files fill the keys of other rows' objects with them."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
