"""The one kind of finding that the rules of this package have."""

from __future__ import annotations

from runtime.config.document import Path
from runtime.config.finding import Finding


def found(path: Path | str, message: str, fix: str, *, warning: bool = False) -> Finding:
    """What `path` asks of a machine that it is not."""
    return Finding(code="environment", path=(path,) if isinstance(path, str) else path, message=message, fix=fix, warning=warning)
