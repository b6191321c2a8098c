"""What a recipe has to say about a dataset, told from its name and, for a file on this machine, from its first row."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from runtime.config.problem import Problem, UserError

# Public data for a recipe that is given none: short conversations (Apache-2.0), and stories for plain text (CDLA-Sharing).
DEFAULT_CHAT = {"path": "HuggingFaceTB/smoltalk", "name": "everyday-conversations", "type": "chat_template"}
DEFAULT_TEXT = {"path": "roneneldan/TinyStories", "split": "train[:10000]", "type": "completion", "field": "text"}

_FILES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".txt": "text"}
_LONGEST_ROW = 1 << 22  # bytes of a file read to find its first row


def describe(path: str | None, *, text_only: bool = False) -> dict[str, Any]:
    """The keys of a `datasets` entry for `path`: a file or folder here, or a dataset on the Hub; public data for None.

    `text_only` asks for rows of plain text. Raises UserError for a file that is not there, and for rows with columns no dataset type is known for.
    """
    if path is None:
        return dict(DEFAULT_TEXT if text_only else DEFAULT_CHAT)
    here = Path(path).expanduser()
    kind = _FILES.get(here.suffix.lower())
    if not here.exists() and "://" not in path and (kind or path.startswith((".", "/", "~"))):
        raise UserError(
            Problem(
                code="missing-file",
                place=f"--dataset {path}",
                message="there is no such file",
                fix="Name a file here, or a dataset on the Hub.",
            )
        )
    entry: dict[str, Any] = {"path": path}
    if here.is_file() and kind:
        entry["ds_type"] = kind
        row = _first_row(here, kind)
        if row is not None:
            return entry | _of_columns(row, path, text_only=text_only)
    return entry | ({"type": "completion"} if text_only or kind == "text" else {"type": "chat_template"})


def _of_columns(row: dict[str, Any], path: str, *, text_only: bool) -> dict[str, Any]:
    """The dataset type whose columns the row has."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if text_only and texts:
        field = next((name for name in ("text", "content", "body") if name in texts), texts[0])
        return {"type": "completion", "field": field}
    for field in ("messages", "conversations"):
        turns = row.get(field)
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            names = {"type": "chat_template"} | ({"field_messages": field} if field != "messages" else {})
            if "from" in turns[0]:
                names["message_property_mappings"] = {"role": "from", "content": "value"}  # type: ignore[assignment]
            return names
    if {"instruction", "output"} <= row.keys():
        return {"type": "alpaca"}
    if isinstance(row.get("segments"), list):
        return {"type": "input_output"}
    if "input_ids" in row:
        return {}
    if "text" in texts:
        return {"type": "completion", "field": "text"}
    raise UserError(
        Problem(
            code="unknown-name",
            place=f"--dataset {path}",
            message=f"no dataset type is known for rows with the columns {', '.join(map(str, row))}",
            fix="Rows of `messages`, of `instruction` and `output`, or of `text` are known; for others write `datasets:` by hand.",
        )
    )


def _first_row(file: Path, kind: str) -> dict[str, Any] | None:
    """The first row of a file of text; None for formats and contents that are not read here."""
    if kind not in ("json", "csv"):
        return None
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        if kind == "csv":
            return next(iter(csv.DictReader(stream)), None)
        start = stream.read(_LONGEST_ROW).lstrip("\ufeff \t\r\n").removeprefix("[").lstrip()
    try:
        row, _ = json.JSONDecoder().raw_decode(start)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
