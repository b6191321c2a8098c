"""Which chat template a recipe means: the tokenizer's own, one shipped by name, or one written in the recipe or a file."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FALLBACK = "tokenizer_default_fallback_"


def chat_template_text(
    tokenizer: PreTrainedTokenizerBase,
    name: str | None,
    jinja: str | None,
    *,
    path: str = "chat_template",
    default_system_message: str | None = None,
) -> str:
    """The Jinja text for `chat_template: name` and `chat_template_jinja: jinja`, at option `path`.

    Raises UserError when the name is unknown, the file is missing, or the tokenizer has no template of its own.
    """
    if name is None and jinja:
        name = "jinja"
    if name is None or name == "tokenizer_default":
        return _own_template(tokenizer, path)
    if name.startswith(_FALLBACK):
        return _own_template(tokenizer, path) if tokenizer.chat_template else shipped_template(name.removeprefix(_FALLBACK), path)
    if name == "jinja":
        return _written_template(jinja, path)
    if "{" in name or name.endswith((".jinja", ".jinja2", ".j2")):
        return _written_template(name, path)
    text = shipped_template(name, path)
    if default_system_message is not None and name == "chatml":
        return f"{{%- set default_system_message = {json.dumps(default_system_message, ensure_ascii=False)} %}}{text}"
    return text


def shipped_template(name: str, path: str = "chat_template") -> str:
    """The text of the template shipped as `name`. Raises UserError, with the nearest name, when there is none."""
    try:
        return shipped_templates()[name].read_text(encoding="utf-8")
    except KeyError:
        known = [*shipped_templates(), "tokenizer_default", "jinja"]
        nearest = next(iter(difflib.get_close_matches(name, known, n=1)), None)
        raise UserError(
            Problem(
                code="unknown-name",
                message=f"unknown chat template '{name}'" + (f"; did you mean '{nearest}'?" if nearest else ""),
                path=path,
                suggestion=nearest,
                fix=f"use one of {', '.join(sorted(known))}, or give the template itself with `chat_template_jinja`",
            )
        ) from None


@cache
def shipped_templates() -> dict[str, Path]:
    """The template files by name: in the installed package, or in the source tree beside it."""
    package = Path(__file__).parents[1]
    places = (package / "_data" / "templates" / "chat", package.parent / "templates" / "chat")
    folder = next((place for place in places if place.is_dir()), places[-1])
    return {file.stem: file for file in sorted(folder.glob("*.jinja"))}


def _own_template(tokenizer: PreTrainedTokenizerBase, path: str) -> str:
    if not tokenizer.chat_template:
        raise UserError(
            Problem(
                code="missing",
                message="the tokenizer of this model has no chat template of its own",
                path=path,
                fix="choose one: `chat_template: chatml`, or another name, or `chat_template_jinja`",
            )
        )
    return str(tokenizer.get_chat_template())


def _written_template(text: str | None, path: str) -> str:
    if not text:
        raise UserError(
            Problem(
                code="missing",
                message="`chat_template: jinja` needs the template",
                path=path,
                fix="set chat_template_jinja to it, or to a file",
            )
        )
    if "{" in text:
        return text
    try:
        return Path(text).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            Problem(
                code="missing-file",
                message=f"cannot read the chat template {text}: {error}",
                path=path,
                fix="give the path of a Jinja file, or its text",
            )
        ) from error
