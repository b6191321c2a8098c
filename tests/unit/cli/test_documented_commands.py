"""Commands that the pages show and nobody can run here, since they need an account, are commands the launcher knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from launcher.cli.app import build_app

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown(checkout: Path) -> list[str]:
    pages = [checkout / "README.md", *sorted((checkout / "docs").rglob("*.md"))]
    lines = [line for page in pages for block in BLOCK.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [line for line in lines if line.startswith("launcher ")]


def parse(line: str) -> None:
    """Read the command line as the launcher does, and do nothing. Raises what typer raises for a line it does not take."""
    _, name, *words = shlex.split(line)
    group = typer.main.get_command(build_app(name))
    command = group.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)


def test_what_needs_an_account_is_at_least_spelt_right(checkout: Path) -> None:
    lines = shown(checkout)
    assert lines
    for line in lines:
        parse(line)


def test_a_slip_is_found() -> None:
    with pytest.raises(Exception, match="--spott"):
        parse("launcher up recipe.yml --spott")
