"""One instruction, one response: the prompt built from format texts, masked, and the response trained."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from runtime.config.problem import Problem, UserError
from runtime.data.tokenizing import encode
from runtime.data.tokens import IGNORED, TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionFormat:
    """How the prompt of a row is written; the parts of a row are named in `instruction_formats.yml`."""

    format: str
    without_input: str
    system_format: str = ""
    system: str = ""
    system_without_input: str | None = None
    response: str = "{response}"
    instruction_column: str = "instruction"
    input_column: str | None = None
    response_column: str = "output"
    system_column: str | None = None

    def prompt(self, instruction: str, given: str, system: str) -> str:
        """The prompt of one row; `given` is its input, `system` its own system text, either may be empty."""
        default = self.system if given or self.system_without_input is None else self.system_without_input
        said = system or default
        head = self.system_format.format(system=said) if said and self.system_format else ""
        return head + (
            self.format.format(instruction=instruction, input=given)
            if given
            else self.without_input.format(instruction=instruction, input="")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionStrategy:
    """Rows of an instruction and a response, by a format."""

    tokenizer: PreTrainedTokenizerBase
    form: InstructionFormat
    train_on_inputs: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return (self.form.instruction_column, self.form.response_column)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """Token ids and labels of a batch of rows: what the tokenizer puts before a text, the prompt, the response, the end token."""
        form = self.form
        instructions = _texts(rows, form.instruction_column, indices)
        given = _texts(rows, form.input_column, indices)
        systems = _texts(rows, form.system_column, indices)
        responses = [form.response.format(response=text) for text in _texts(rows, form.response_column, indices)]
        prompts = [form.prompt(*parts) for parts in zip(instructions, given, systems, strict=True)]
        eos = self.tokenizer.eos_token_id
        batch = TokenBatch()
        for prompt, response in zip(_opened(self.tokenizer, prompts), encode(self.tokenizer, responses, special=False), strict=True):
            answer = response if eos is None or (response and response[-1] == eos) else [*response, eos]
            batch.append(prompt + answer, (prompt if self.train_on_inputs else [IGNORED] * len(prompt)) + answer)
        return batch.table()


@cache
def instruction_formats() -> dict[str, InstructionFormat]:
    """The formats with a name, from the data file beside this module."""
    document = yaml.safe_load((Path(__file__).parent / "instruction_formats.yml").read_text(encoding="utf-8"))
    return {name: _from_document(entry) for name, entry in document.items() if not name.startswith("_")}


def user_format(described: Any, path: str) -> InstructionFormat:
    """The format a recipe describes with `type: {field_instruction: …, format: …}`. Raises UserError when a format text has unknown braces."""

    def said(name: str, default: str) -> str:
        value = getattr(described, name)
        return default if value is None else str(value)

    form = said("format", "{instruction} {input} ")
    # One format for all rows, when only one is given; a row without input then fills {input} with nothing.
    without_input = said("no_input_format", "{instruction} " if described.format is None else form)
    made = InstructionFormat(
        format=form,
        without_input=without_input,
        system_format=said("system_format", "{system}"),
        system=said("system_prompt", ""),
        instruction_column=said("field_instruction", "instruction"),
        input_column=said("field_input", "input"),
        response_column=said("field_output", "output"),
        system_column=said("field_system", "system"),
    )
    _check_fields(made.format, {"instruction", "input"}, f"{path}.format")
    _check_fields(made.without_input, {"instruction"} if described.no_input_format else {"instruction", "input"}, f"{path}.no_input_format")
    _check_fields(made.system_format, {"system"}, f"{path}.system_format")
    return made


def _check_fields(text: str, known: Iterable[str], path: str) -> None:
    names = sorted(known)
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        unknown = used - set(names)
    except ValueError as error:
        unknown, used = {str(error)}, set()
    if unknown:
        raise UserError(
            Problem(
                code="wrong-type",
                message=f"{path} has braces it cannot fill: {', '.join(sorted(unknown)) or 'empty braces'}",
                path=path,
                fix=f"use {' and '.join(f'{{{name}}}' for name in names)}; write a brace that is part of the text twice",
            )
        )


def _from_document(entry: Mapping[str, Any]) -> InstructionFormat:
    columns = entry["columns"]
    rest = {key: value for key, value in entry.items() if key != "columns"}
    return InstructionFormat(
        **rest,
        instruction_column=columns["instruction"],
        input_column=columns.get("input"),
        response_column=columns["response"],
        system_column=columns.get("system"),
    )


def _opened(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Prompts as a tokenizer opens a text, without the end token that some also put behind it."""
    eos = tokenizer.eos_token_id
    encoded = encode(tokenizer, prompts, special=True)
    return [
        ids[:-1] if ids and ids[-1] == eos and not prompt.endswith(str(tokenizer.eos_token)) else ids
        for ids, prompt in zip(encoded, prompts, strict=True)
    ]


def _texts(rows: Mapping[str, Sequence[Any]], column: str | None, indices: Sequence[int]) -> list[str]:
    if column is None or column not in rows:
        return [""] * len(indices)
    return ["" if value is None else value if isinstance(value, str) else str(value) for value in rows[column]]
