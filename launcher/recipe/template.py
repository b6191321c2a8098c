"""Recipes that are templates: Jinja in a sandbox, where an unknown variable is an error and not an empty text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.recipe.template_folders import ENDINGS, loader_of
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_OWN_NAME = "In a template of a shipped one's name, extend the shipped one as `shipped/NAME`."
_LARGEST_NUMBER, _LARGEST_PRODUCT = 2**63, 1000
_MARKS = re.compile(r"\{\{|\{%|\{#")
# Values that are templates themselves, rendered row by row in training and never here.
_TEMPLATE_KEYS = re.compile(
    r"^(?P<indent>[ ]*)(?P<dash>- )?(?P<key>chat_template\w*|(?:\w+_)?format|system_prompt|default_system_message|logprobs_field)[ ]*:(?P<rest>.*)$"
)


def is_template(path: Path | str, text: str) -> bool:
    """Whether a recipe is to be rendered: its name ends in `.j2`, or it has Jinja marks outside of chat templates, prompt formats and comments."""
    return str(path).endswith(".j2") or _MARKS.search(_without_inner_templates(text)) is not None


def render_template(
    text: str, *, file: str, variables: Mapping[str, Any], target: Mapping[str, Any] | None = None, folders: Sequence[Path] = ()
) -> str:
    """The recipe with its variables filled in. `target` becomes the namespace `gpu`; `{% extends %}` and `{% include %}` find templates in `folders`.

    Raises UserError for broken templates, unknown variables, and templates that are not in those folders.
    """
    import jinja2

    environment = _environment(tuple(folders))
    try:
        rendered: str = environment.from_string(text).render({**variables, "gpu": dict(target or {})})
    except jinja2.TemplateSyntaxError as error:
        raise UserError(
            Problem(
                code="yaml",
                message=f"the template is broken: {error.message}",
                fix="Check the braces.",
                file=error.filename or file,
                line=error.lineno,
            )
        ) from None
    except jinja2.TemplateNotFound as error:
        fix = "It is looked for in --templates, in $LAUNCHER_TEMPLATES and among the shipped ones."
        raise UserError(
            Problem(code="missing-file", message=f"there is no template '{error.name}'", fix=fix, **_place(error, file))
        ) from None
    except jinja2.UndefinedError as error:
        name = _undefined_name(error)
        fix = f"Give it a value: --var {name}=…" if name else "Give it a value with --var."
        raise UserError(
            Problem(code="missing", message=f"the template needs a variable: {error.message}", fix=fix, **_place(error, file))
        ) from None
    except RecursionError:
        raise UserError(Problem(code="yaml", message="the template builds on itself without end", fix=_OWN_NAME, file=file)) from None
    except MemoryError:
        raise UserError(
            Problem(code="yaml", message="the template builds a text that this machine's memory does not hold", file=file)
        ) from None
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(Problem(code="yaml", message=f"the template cannot be rendered: {error}", **_place(error, file))) from None
    return rendered


def read_variables(words: Sequence[str]) -> dict[str, Any]:
    """The variables of `--var name=value` words, each value read as YAML. Raises UserError for a word without a name and '='."""
    from runtime.config.document import BrokenYamlError, read_value

    found: dict[str, Any] = {}
    problems = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            problems.append(
                Problem(code="usage", message="not of the form name=value", fix="Write `--var size=8b`.", place=f"--var {word}")
            )
            continue
        try:
            found[name] = read_value(text, place=f"--var {word}")
        except BrokenYamlError as error:
            problems.append(error.problem)
    if problems:
        raise UserError(problems)
    return found


def _without_inner_templates(text: str) -> str:
    """The text without comments and without the values of keys that hold templates of their own, block texts included."""
    kept: list[str] = []
    inside: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if inside is not None and (not line.strip() or indent > inside):
            continue
        inside = None
        found = _TEMPLATE_KEYS.match(line)
        if found:
            inside = indent + len(found["dash"] or "")
            continue
        if not line.lstrip().startswith("#"):
            kept.append(line)
    return "\n".join(kept)


@cache
def _environment(folders: tuple[Path, ...]) -> SandboxedEnvironment:
    import jinja2
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import SandboxedEnvironment

    class Sandbox(SandboxedEnvironment):
        """Without products that fill the memory from a few characters; loops are kept short by Jinja's own sandbox."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(side) if isinstance(side, Sized) else abs(side) for side in (left, right)]
            numbers = not isinstance(left, Sized) and not isinstance(right, Sized)
            if max(sizes) > (_LARGEST_NUMBER if numbers and operator == "*" else _LARGEST_PRODUCT):
                raise SecurityError(f"{operator} with so large a value is not for a template")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(
        loader=loader_of(folders),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["yaml"] = _as_yaml
    environment.filters["word"] = _as_word
    environment.filters["line"] = _as_line
    environment.filters["quoted"] = _as_quoted
    environment.filters["block"] = _as_block
    environment.filters["number"] = _as_number
    return environment


def _as_yaml(value: Any) -> str:
    """The value as one line of YAML, for texts that may hold anything."""
    import json

    # JSON leaves characters as they are that YAML takes for the end of a line, or for nothing a text can hold.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in written)


def _as_word(value: Any) -> str:
    """The value without quotes where YAML reads it as the same text so, and no comment could be taken for a part of it; else in quotes."""
    import yaml

    text = str(value)
    try:
        same = text.isprintable() and " #" not in text and yaml.safe_load(f"a: {text} # b\n") == {"a": text}
    except yaml.YAMLError:
        same = False
    return text if same else _as_yaml(value)


def _as_quoted(value: Any) -> str:
    """The value in single quotes, where a backslash is one, or as `yaml` where it has more than one line."""
    text = str(value)
    return "'" + text.replace("'", "''") + "'" if text.isprintable() else _as_yaml(value)


def _as_line(value: Any) -> str:
    """The value as words of a comment, which ends with its line."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())


def _as_block(value: Any) -> str:
    """The value as lines of YAML, in the order it has."""
    import yaml

    written: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
    if not written.replace("\n", "").isprintable():
        # Some of the characters that end lines are written as they are, and read as others.
        written = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=1000)
    return written.rstrip("\n")


def _as_number(value: float) -> str:
    """A number without an exponent, which YAML 1.1 would take for text."""
    return format(Decimal(repr(value)), "f")


def _undefined_name(error: Exception) -> str:
    found = re.search(r"'(\w+)' is undefined", str(error))
    return found[1] if found else ""


def _place(error: BaseException, file: str) -> dict[str, Any]:
    """File and line of the template that an error arose in: `file` itself, or one it builds on."""
    trace = error.__traceback__
    place: dict[str, Any] = {"file": file, "line": None}
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name == "<template>" or name.endswith(ENDINGS):
            place = {"file": file if name == "<template>" else name, "line": trace.tb_lineno}
        trace = trace.tb_next
    return place
