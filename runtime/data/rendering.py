"""Chat templates: compiled once in a sandbox, rendered to text that says which characters came from which message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runtime.config.problem import Problem, UserError
from runtime.data.traced import joined


def render(template: jinja2.Template, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """The conversation as text; `Traced` when a message carried traced text into it.

    Raises jinja2.TemplateError when the template refuses the conversation (roles that must alternate, a system message it does not know).
    """
    context = template.new_context({"messages": messages, "add_generation_prompt": False, **variables})
    try:
        return joined(template.root_render_func(context))
    except jinja2.TemplateError:
        raise
    except Exception as error:
        # Whatever a template does with odd messages is the template refusing them.
        raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from error


@lru_cache(maxsize=64)
def compile_template(source: str) -> jinja2.Template:
    """The compiled template with the filters and globals that published chat templates rely on. Raises UserError when it is not Jinja."""
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(
            Problem(
                code="bad-template",
                message=f"the chat template does not parse: {error.message} (line {error.lineno} of the template)",
                path="chat_template",
                fix="mend the template, or choose another with `chat_template:`",
            )
        ) from error


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.filters["join"] = _join
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class _Concatenating(CodeGenerator):
    """Generates `a ~ b` as a join that keeps origins; jinja's own makes plain text."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - the name is jinja's
        self.write("environment.concat(map(str, (")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")))")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Concatenating
    concat = staticmethod(joined)


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}`: marks model text for tools that ask the template; masks here do not depend on it."""

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _join(value: Any, d: str = "", attribute: str | None = None) -> str:
    items = [str(item[attribute] if attribute else item) for item in value]
    return joined(part for index, item in enumerate(items) for part in ((d, item) if index else (item,)))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: tuple[str, str] | None = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
