"""Something a rule has to say about a config, before it has a place in a text."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.config.document import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with the option at `path`. `involves` names the other top-level options the rule looked at."""

    code: str
    path: Path
    message: str
    fix: str = ""
    suggestion: str | None = None
    involves: tuple[str, ...] = ()
    warning: bool = False


def conflict(path: Path | str, message: str, fix: str, *involves: str, warning: bool = False) -> Finding:
    """Options that contradict each other, or of which one takes the other's effect away, told at `path`."""
    return Finding(
        code="conflict", path=(path,) if isinstance(path, str) else path, involves=involves, message=message, fix=fix, warning=warning
    )
