"""Values as YAML that cannot be anything but that value: what a user wrote never ends a line or starts a key."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml


def scalar(value: Any) -> str:
    """The value as one line of YAML: text quoted, its control characters and what is not ASCII escaped."""
    if isinstance(value, str):
        # JSON's escapes would write characters beyond U+FFFF as two, which YAML reads as two.
        return yaml.safe_dump(value, default_style='"', width=float("inf")).strip()
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()


def text_block(text: str, *, indent: int) -> str:
    """A longer text as a literal block below a key, each line indented; as `scalar` where a block would not give back the same text."""
    block = f"|\n{textwrap.indent(text, ' ' * indent, lambda _line: True)}"
    try:
        same = text.endswith("\n") and not text.endswith("\n\n") and yaml.safe_load(f"{' ' * (indent - 2)}key: {block}") == {"key": text}
    except yaml.YAMLError:
        same = False
    return block.rstrip() if same else scalar(text)
