"""Conversations to token ids: rendered once by a chat template, tokenized once, masked by where each message ended up in the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import jinja2
import pyarrow as pa

from runtime.config.problem import Problem, UserError
from runtime.data.conversation import ConversationShape, Turn
from runtime.data.rendering import compile_template, render
from runtime.data.tokenizing import encode_with_offsets, token_span
from runtime.data.tokens import IGNORED, TokenBatch
from runtime.data.traced import Traced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EndTraining = Literal["all", "turn", "last", "none"]

# How many tokens after a message its end token may come; templates put a newline or a closing mark between them.
_END_REACH = 3
# Characters no training text uses (Unicode private use), to see where a message is rendered by putting them in its place.
_STAND_IN = {"content": "\ue0a0\ue0a1", "thinking": "\ue0a2\ue0a3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStrategy:
    """Rows with a conversation. Trains the content of turns by role and mark, and their end tokens by `train_on_eos` and `train_on_eot`.

    `eos_id` is the tokenizer's end-of-text token and `eot_ids` are the tokens that end a turn; they may be the same.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    shape: ConversationShape
    eos_id: int | None
    eot_ids: frozenset[int]
    roles_to_train: frozenset[str] = frozenset({"assistant"})
    train_on_inputs: bool = False
    train_on_eos: EndTraining = "turn"
    train_on_eot: EndTraining = "turn"
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return (self.shape.field_messages,)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """Token ids and labels of a batch of rows. Raises UserError naming the row that has no conversation or that the template refuses."""
        read = {key: rows[key] for key in (self.shape.field_messages, self.shape.field_tools, self.shape.field_system) if key in rows}
        conversations = [
            self._rendered({key: values[position] for key, values in read.items()}, row) for position, row in enumerate(indices)
        ]
        batch = TokenBatch()
        for conversation, encoding in zip(conversations, encode_with_offsets(self.tokenizer, [c.text for c in conversations]), strict=True):
            batch.append(encoding.ids, self._labels(conversation, encoding))
        return batch.table()

    def _rendered(self, row: Mapping[str, Any], number: int) -> _Conversation:
        template = compile_template(self.template)
        try:
            turns = self.shape.turns(row)
            variables = {**self.variables, "tools": self.shape.tools(row)}
            messages = [turn.message for turn in turns]
            if any(message.get("tool_calls") for message in messages) and not _writes_calls(self.template):
                raise ValueError("it has tool calls, which the chat template would leave out")
            text = render(template, messages, variables)
            wanted = self._turns_to_find(turns)
            spans = {index: _span(template, messages, variables, text, index, self.shape.template_thinking_key) for index in wanted}
        except ValueError as error:
            raise UserError(
                _row_problem(number, str(error), f"mend the row, or name where the conversation is with `{_fields(self.shape)}`")
            ) from error
        except jinja2.TemplateError as error:
            fix = "give these rows roles in the order the template knows (`drop_system_message: true` if it has no system role), or choose another `chat_template`"
            raise UserError(
                _row_problem(number, f"the chat template refuses the conversation: {error.message or type(error).__name__}", fix)
            ) from error
        return _Conversation(text=text, turns=turns, spans=spans)

    def _turns_to_find(self, turns: Sequence[Turn]) -> list[int]:
        every = "all" in (self.train_on_eos, self.train_on_eot)
        return [index for index, turn in enumerate(turns) if every or self._trains(turn)]

    def _trains(self, turn: Turn) -> bool:
        if turn.training is not None:
            return turn.training
        return bool(turn.details) or self.train_on_inputs or turn.role in self.roles_to_train

    def _labels(self, conversation: _Conversation, encoding: Any) -> list[int]:
        ids = encoding.ids
        labels = [IGNORED] * len(ids)
        last_eos = last_eot = None
        for index, span in conversation.spans.items():
            if span is None:
                continue
            turn = conversation.turns[index]
            first, end = token_span(encoding, *span)
            if first == end:
                continue
            trains = self._trains(turn)
            if trains and turn.details:
                for token in range(first, end):
                    if _trained_by_details(encoding.token_to_chars(token), turn, conversation.text, span, index):
                        labels[token] = ids[token]
            elif trains:
                labels[first:end] = ids[first:end]
            reach = range(end, min(end + _END_REACH + 1, len(ids)))
            eot = next((position for position in reach if ids[position] in self.eot_ids), None)
            eos = next((position for position in reach if ids[position] == self.eos_id), None)
            last_eot, last_eos = (last_eot if eot is None else eot), (last_eos if eos is None else eos)
            for position, when in ((eot, self.train_on_eot), (eos, self.train_on_eos)):
                if position is not None and (when == "all" or (when == "turn" and trains)):
                    labels[position] = ids[position]
        for position, when in ((last_eot, self.train_on_eot), (last_eos, self.train_on_eos)):
            if position is not None and when == "last":
                labels[position] = ids[position]
        return labels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conversation:
    text: str
    turns: list[Turn]
    spans: dict[int, tuple[int, int] | None]


def _span(
    template: jinja2.Template, messages: list[dict[str, Any]], variables: Mapping[str, Any], text: str, index: int, thinking_key: str
) -> tuple[int, int] | None:
    """The characters of the rendered text that came from message `index`, thoughts and tool calls included; None when there are none."""
    message = messages[index]
    if not message.get("tool_calls"):
        pieces = [piece for piece in text.pieces if piece.message == index] if isinstance(text, Traced) else []
        if pieces:
            return min(piece.start for piece in pieces), max(piece.stop for piece in pieces)
        if not any(message.get(key) for key in ("content", thinking_key)):
            return None
    # Tool calls are built by the template out of many values, and some templates make new text of a content: see what changes without it.
    stand_in = {"role": message["role"], "content": _STAND_IN["content"]}
    if message.get(thinking_key):
        stand_in[thinking_key] = _STAND_IN["thinking"]
    other = render(template, [*messages[:index], stand_in, *messages[index + 1 :]], variables)
    start = _shared_prefix(text, other)
    stop = len(text) - _shared_suffix(text[start:], other[start:])
    return (start, stop) if stop > start else None


@lru_cache(maxsize=64)
def _writes_calls(template: str) -> bool:
    """Whether the template writes tool calls at all; some pass over them, and the turn that makes the call would train nothing."""
    call = {"type": "function", "function": {"name": "probed_function", "arguments": {}}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    try:
        return "probed_function" in render(compile_template(template), messages, {"tools": None, "bos_token": "", "eos_token": ""})
    except jinja2.TemplateError:
        return True


def _trained_by_details(chars: tuple[int, int] | None, turn: Turn, text: str, span: tuple[int, int], index: int) -> bool:
    """Whether all characters of a token are ones its turn's details train; characters no detail names follow the opposite of what details say."""
    if chars is None:
        return False
    unnamed = not any(detail.train for detail in turn.details)
    pieces = [piece for piece in text.pieces if piece.message == index and piece.part == "content"] if isinstance(text, Traced) else []
    for position in range(max(chars[0], span[0]), min(chars[1], span[1])):
        piece = next((piece for piece in pieces if piece.start <= position < piece.stop), None)
        if piece is None:
            return False
        offset = piece.origin + position - piece.start
        detail = next((detail for detail in turn.details if detail.begin <= offset <= detail.end), None)
        if not (unnamed if detail is None else detail.train):
            return False
    return True


def _shared_prefix(one: str, two: str) -> int:
    """How many first characters are the same; by halving, since the texts are long and comparing slices is fast."""
    low, high = 0, min(len(one), len(two))
    one, two = str.__str__(one), str.__str__(two)
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shared_suffix(one: str, two: str) -> int:
    return _shared_prefix(str.__str__(one)[::-1], str.__str__(two)[::-1])


def _fields(shape: ConversationShape) -> str:
    return f"field_messages: {shape.field_messages}"


def _row_problem(number: int, message: str, fix: str) -> Problem:
    return Problem(code="bad-row", message=f"row {number + 1}: {message}", fix=fix)
