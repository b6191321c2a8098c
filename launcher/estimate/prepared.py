"""What an earlier preparation of the same data counted, where one was made on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.config.data_key import data_key, note_of, prepared_folder

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCount:
    """Training samples, their tokens, the longest of them, the rows they were packed into, None without packing, and the tokens held out."""

    rows: int
    tokens: int
    longest: int
    packed_rows: int | None
    held_out_tokens: int = 0


def counted_before(config: TrainingConfig) -> PreparedCount | None:
    """The counts of a preparation whose options, files and tokenizer were those of `config`; None when there is none, or its report is gone."""
    try:
        note = note_of(prepared_folder(config.dataset_prepared_path), data_key(config))
        folder = note.read_text(encoding="utf-8").strip()
        report = json.loads((note.parent / folder / "report.json").read_text(encoding="utf-8"))
        packed = report["packed_rows"]
        return PreparedCount(
            rows=int(report["train_rows"]),
            tokens=int(report["tokens"]),
            longest=int(report["longest"]),
            packed_rows=None if packed is None else int(packed),
            held_out_tokens=int(report.get("validation_tokens") or 0),
        )
    except (OSError, ValueError, KeyError, TypeError):
        # A report of another version, or half of one, is no report: the data are counted in the files then.
        return None
