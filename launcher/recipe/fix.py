"""Old names in a recipe's text replaced by current ones, and plugins that it lacks added; every other character stays as it is."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runtime.config.problem import Problem


def with_current_names(text: str, problems: Iterable[Problem]) -> tuple[str, int]:
    """The text with each key that a `renamed` problem points at rewritten, and how many were. Comments, order and quoting stay, and so does what the
    recipe means: a key that cannot be rewritten without changing that is left as it is."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    before = text.removeprefix(mark)
    count = 0
    # From the end of the text to its start, so that earlier places stay right.
    for problem in sorted(problems, key=lambda found: (found.line or 0, found.column or 0), reverse=True):
        if problem.code not in ("renamed", "renamed-value") or problem.suggestion is None or problem.line is None or problem.column is None:
            continue
        rewrite = _rewritten if problem.code == "renamed" else _with_value
        after = rewrite(before, problem.line - 1, problem.column - 1, problem.path.rpartition(".")[2], problem.suggestion)
        if after != before and _meaning(after) == _meaning(before):
            before = after
            count += 1
    return mark + before, count


def _rewritten(text: str, row: int, start: int, old: str, new: str) -> str:
    lines = text.splitlines(keepends=True)
    line, at_top = lines[row], start == 0
    if line[start : start + 1] in ("'", '"'):
        start += 1
    if line[start : start + len(old)] != old:
        return text
    end = "\r\n" if line.endswith("\r\n") else "\n"
    home, dot, name = new.rpartition(".")
    if dot:
        stop = next((at for at in range(row + 1, len(lines)) if lines[at].strip() and lines[at][0] not in " #\t"), len(lines))
        while stop > row + 1 and (not lines[stop - 1].strip() or lines[stop - 1][0] == "#"):
            stop -= 1
        moved = [f"  {part}" if part.strip() else part for part in lines[row:stop]]
        return "".join([*lines[:row], f"{home}:{end}", *moved, *lines[stop:]]) if name == old else text
    lines[row] = line[:start] + new + line[start + len(old) :]
    if old == "max_packed_sequence_len" and at_top and not any(other.startswith("sample_packing:") for other in lines):
        # The old option packed as well as setting the length.
        lines[row] = lines[row].rstrip("\r\n") + f"{end}sample_packing: true{end}"
    return "".join(lines)


def _with_value(text: str, row: int, start: int, key: str, new: str) -> str:
    """The text with the one word after `key` replaced."""
    lines = text.splitlines(keepends=True)
    found = re.match(rf"(['\"]?{re.escape(key)}['\"]?\s*:\s*['\"]?)[\w-]+", lines[row][start:])
    if found is not None:
        lines[row] = lines[row][:start] + found[1] + new + lines[row][start + found.end() :]
    return "".join(lines)


def _meaning(text: str) -> object:
    """The values of a recipe under current names; None for a text that is no recipe."""
    from runtime.config.document import BrokenYamlError, read
    from runtime.config.names import named

    try:
        return named(read(text, file="")).values
    except BrokenYamlError:
        return None


def with_plugins(text: str, problems: Iterable[Problem]) -> tuple[str, int]:
    """The text with the entries that `no-plugin` problems ask for added to `plugins:`, and how many were; everything else stays."""
    missing = list(dict.fromkeys(problem.suggestion for problem in problems if problem.code == "no-plugin" and problem.suggestion))
    if not missing:
        return text, 0
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    at = next((index for index, line in enumerate(lines) if re.match(r"plugins\s*:", line)), None)
    if at is None:
        last = "" if not lines or lines[-1].endswith("\n") else end
        return text + last + f"plugins:{end}" + "".join(f"  - {entry}{end}" for entry in missing), len(missing)
    inline = re.match(r"(plugins\s*:\s*\[)([^\]#]*)(\].*)", lines[at], re.DOTALL)
    if inline is not None:
        there = inline[2].strip().rstrip(",")
        lines[at] = inline[1] + ", ".join([*([there] if there else []), *missing]) + inline[3]
        return "".join(lines), len(missing)
    entry_line = next((line for line in lines[at + 1 :] if line.strip() and not line.lstrip().startswith("#")), "")
    dash = re.match(r"\s*-\s+", entry_line)
    if not re.match(r"plugins\s*:\s*(#.*)?$", lines[at]) or dash is None:
        return text, 0
    lines[at + 1 : at + 1] = [f"{dash[0]}{entry}{end}" for entry in missing]
    return "".join(lines), len(missing)


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
