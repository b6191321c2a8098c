"""How many training rows and tokens a recipe's data has: exact from an earlier preparation, counted in local files, or unknown."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.estimate.prepared import counted_before
from launcher.estimate.range import Range, exactly

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

COUNTED = "counted in an earlier preparation"
# Characters per token of English text and code under vocabularies of 32k to 256k entries; small vocabularies cut finer. A range, as languages differ.
CHARACTERS_PER_TOKEN = (5.0, 4.0, 2.5)
SMALL_VOCABULARY = 16_000
CHARACTERS_PER_TOKEN_SMALL = (4.5, 3.3, 2.0)
# Tokens a chat template puts around each message: role, separators, end of turn.
TOKENS_PER_MESSAGE = 5
SAMPLED_BYTES = 8 * 2**20
"""A file is read up to here; the rest is extrapolated by size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSize:
    """Training rows (samples, before packing) and their tokens in one epoch. `longest` is the longest sample seen, by the expected ratio."""

    rows: Range
    tokens: Range
    longest: int
    basis: str
    known: bool = True
    packed_rows: int | None = None
    """Rows the samples were packed into, where that was counted."""
    evaluated: float | None = 0.0
    """Tokens of one evaluation over those of one epoch; None when the data to evaluate on are not on this machine."""

    @property
    def exact(self) -> bool:
        """Whether the tokens were counted and not estimated."""
        return self.known and self.basis == COUNTED

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a sample."""
        return self.tokens.value / max(1.0, self.rows.value)


UNKNOWN = DataSize(rows=exactly(0), tokens=exactly(0), longest=0, basis="the data is not on this machine", known=False)


@dataclass(slots=True, kw_only=True)
class _Count:
    rows: float = 0.0
    characters: float = 0.0
    messages: float = 0.0
    longest: int = 0


def data_size(config: TrainingConfig, *, vocab: int) -> DataSize:
    """The size of the recipe's training data: as an earlier preparation here counted them, else as far as they lie in local JSON, JSON Lines, CSV or text
    files; `known` is off otherwise."""
    counted = counted_before(config)
    if counted is not None:
        return DataSize(
            rows=exactly(counted.rows),
            tokens=exactly(counted.tokens, basis=COUNTED),
            longest=counted.longest,
            basis=COUNTED,
            packed_rows=counted.packed_rows,
            evaluated=counted.held_out_tokens / max(1, counted.tokens),
        )
    total = _counted(config.datasets)
    if total is None or total.rows == 0:
        return UNKNOWN
    return _sized(total, config, vocab)


def _counted(sources: Iterable[Any] | None) -> _Count | None:
    """All rows of the sources, None when one of them cannot be counted here."""
    total = _Count()
    for source in sources or ():
        files = _files(source)
        if files is None or not all(_count_file(file, source, total) for file in files):
            return None
    return total


def _sized(total: _Count, config: TrainingConfig, vocab: int) -> DataSize:
    most, expected, least = CHARACTERS_PER_TOKEN_SMALL if vocab < SMALL_VOCABULARY else CHARACTERS_PER_TOKEN
    held_out = _held_out(config.val_set_size or 0.0, total.rows)
    share = (total.rows - held_out) / total.rows
    around = total.messages * TOKENS_PER_MESSAGE
    limit = int(config.sequence_len) * total.rows
    tokens = Range(
        value=min(limit, total.characters / expected + around) * share,
        low=min(limit, total.characters / most + around) * share,
        high=min(limit, total.characters / least + 2 * around) * share,
        basis=f"{total.characters:,.0f} characters in local files at {expected} to a token",
    )
    longest = min(int(config.sequence_len), int(total.longest / least) + TOKENS_PER_MESSAGE * 4)
    return DataSize(
        rows=exactly(total.rows - held_out),
        tokens=tokens,
        longest=longest,
        basis=tokens.basis,
        evaluated=_evaluated(config, total, held_out),
    )


def _evaluated(config: TrainingConfig, total: _Count, held_out: float) -> float | None:
    if not config.test_datasets:
        return held_out / (total.rows - held_out)
    tests = _counted(config.test_datasets)
    return tests.characters / max(1.0, total.characters) if tests is not None else None


def _held_out(share: float, rows: float) -> float:
    return min(share, rows - 1) if share >= 1 else rows * share


def _files(source: Any) -> list[Path] | None:
    named = source.data_files
    if named:
        folder = Path(source.path).expanduser() if source.path and Path(source.path).expanduser().is_dir() else Path()
        files = [folder / name for name in ([named] if isinstance(named, str) else named)]
        return files if all(file.is_file() for file in files) else None
    path = Path(source.path or "").expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in (".jsonl", ".json", ".csv", ".txt"))
        return found or None
    return None


def _count_file(file: Path, source: Any, total: _Count) -> bool:
    """Add the file's rows to `total`; False for a format that is not counted."""
    kind = source.ds_type or {".jsonl": "json", ".json": "json", ".csv": "csv", ".txt": "text"}.get(file.suffix, "")
    if kind not in ("json", "csv", "text"):
        return False
    fields = _text_fields(source)
    seen = _Count()
    read = 0
    size = file.stat().st_size
    for row, consumed in _rows(file, kind):
        read += consumed
        seen.rows += 1
        characters, messages = _characters(row, fields)
        seen.characters += characters
        seen.messages += messages
        seen.longest = max(seen.longest, characters)
        if read >= SAMPLED_BYTES:
            break
    scale = size / read if read >= SAMPLED_BYTES else 1.0
    total.rows += seen.rows * scale
    total.characters += seen.characters * scale
    total.messages += seen.messages * scale
    total.longest = max(total.longest, seen.longest)
    return True


def _rows(file: Path, kind: str) -> Iterator[tuple[Any, int]]:
    """(row, bytes it took) of a file; what does not parse is skipped, as the preparation names such rows later."""
    if kind == "text":
        with file.open("rb") as stream:
            yield from ((line.decode(errors="replace").rstrip("\n"), len(line)) for line in stream if line.strip())
        return
    if kind == "csv":
        with file.open(encoding="utf-8", errors="replace", newline="") as text:
            for row in csv.DictReader(text):
                yield row, sum(len(str(value)) + 1 for value in row.values())
        return
    with file.open("rb") as stream:
        if stream.read(1) == b"[":
            stream.seek(0)
            content = stream.read()
            try:
                rows = json.loads(content)
            except ValueError:
                return
            each = max(1, len(content) // max(1, len(rows)))
            yield from ((row, each) for row in rows)
            return
        stream.seek(0)
        for line in stream:
            try:
                yield json.loads(line), len(line)
            except ValueError:
                continue


def _text_fields(source: Any) -> frozenset[str] | None:
    """Columns that become text, None for all of them."""
    if source.field_messages or source.type == "chat_template":
        return frozenset({source.field_messages or "messages", "conversations"})
    if source.type == "completion":
        return frozenset({source.field or "text"})
    return None


def _characters(row: Any, fields: frozenset[str] | None) -> tuple[int, int]:
    """(characters, messages) of a row's text."""
    if isinstance(row, str):
        return len(row), 1
    if not isinstance(row, dict):
        return 0, 0
    ids = row.get("input_ids")
    if isinstance(ids, list):
        return 4 * len(ids), 0
    chosen = {key: value for key, value in row.items() if fields is None or key in fields} or row
    characters = messages = 0
    for value in chosen.values():
        count, turns = _value_characters(value)
        characters += count
        messages += turns
    return characters, max(messages, 1)


def _value_characters(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        return len(value), 0
    if isinstance(value, list):
        parts = [_value_characters(item) for item in value]
        turns = sum(1 for item in value if isinstance(item, dict))
        return sum(count for count, _ in parts), turns + sum(inner for _, inner in parts)
    if isinstance(value, dict):
        return sum(len(item) for item in value.values() if isinstance(item, str)), 0
    return 0, 0
