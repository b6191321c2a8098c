"""What became of the rows of a recipe while they were prepared."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedReport:
    """What became of the rows. Counts of tokens and packed rows are of the training data; `rows_out` counts samples of both parts.

    `packing_efficiency` is the share of the packed rows' room that holds tokens, None without packing. `seconds` has load, tokenize, pack, total.
    """

    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    tokens: int
    supervised_tokens: int
    train_rows: int
    validation_rows: int
    validation_tokens: int
    packed_rows: int | None
    packing_efficiency: float | None
    longest: int
    seconds: dict[str, float]
    warnings: tuple[dict[str, str], ...] = ()
    cached: bool = False


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Seconds spent in each part of the work."""

    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "tokenize": 0.0, "pack": 0.0})
    started: float = field(default_factory=time.perf_counter)

    def add(self, name: str, since: float) -> None:
        """Count the time since `since`, a reading of time.perf_counter, as `name`."""
        self.seconds[name] += time.perf_counter() - since

    def read(self) -> dict[str, float]:
        """The seconds of each part so far, and of everything as `total`."""
        return {name: round(value, 3) for name, value in {**self.seconds, "total": time.perf_counter() - self.started}.items()}


def write_report(file: Path, report: PreparedReport) -> None:
    """Keep the report beside the rows it is about."""
    file.write_text(json.dumps(asdict(report), ensure_ascii=False, indent=1), encoding="utf-8")


def read_report(file: Path, *, cached: bool, watch: Stopwatch) -> PreparedReport:
    """The report in `file`; of `cached` rows, with the seconds it took to find them."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored |= {"warnings": tuple(stored["warnings"]), "cached": cached}
    return PreparedReport(**(stored | {"seconds": watch.read()} if cached else stored))
