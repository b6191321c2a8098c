"""Old names in a recipe's text replaced by current ones; every other character stays as it is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runtime.config.problem import Problem


def with_current_names(text: str, problems: Iterable[Problem]) -> tuple[str, int]:
    """The text with each key that a `renamed` problem points at rewritten, and how many were. Comments, order and quoting stay."""
    lines = text.splitlines(keepends=True)
    count = 0
    # From the end of each line to its start, so that earlier columns stay right.
    for problem in sorted(problems, key=lambda found: (found.line or 0, -(found.column or 0))):
        if problem.code != "renamed" or problem.suggestion is None or problem.line is None or problem.column is None:
            continue
        old = problem.path.rpartition(".")[2]
        line, start = lines[problem.line - 1], problem.column - 1
        start += line[start : start + 1] in ("'", '"')
        if line[start : start + len(old)] != old:
            continue
        lines[problem.line - 1] = line[:start] + problem.suggestion + line[start + len(old) :]
        count += 1
        if old == "max_packed_sequence_len" and start == 0 and not any(other.startswith("sample_packing:") for other in lines):
            # The old option packed as well as setting the length.
            lines[problem.line - 1] = lines[problem.line - 1].rstrip("\r\n") + "\nsample_packing: true\n"
    return "".join(lines), count


def write_over(path: Path, text: str) -> None:
    """Replace the file's text in one step, so that a failure leaves the old one whole. Keeps its permissions."""
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(scratch).chmod(path.stat().st_mode & 0o777)
        Path(scratch).replace(path)
    except BaseException:  # whatever ends the writing, the scratch file must not stay
        Path(scratch).unlink(missing_ok=True)
        raise
