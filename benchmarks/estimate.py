"""How far the memory estimate is off on runs measured by others. `python benchmarks/estimate.py [--rows] [--rivals] [--data FILE]`

Peaks an allocator reported are compared with the estimate's tensors; reserved memory and nvidia-smi with what the card must hold. Runs that went out of
memory count in the verdicts. `--rivals` asks other estimators about the same rows, and then the results go to benchmarks/results/estimate-DATE.json.
`--data` takes rows of another file with the columns of benchmarks/data/memory_measured.csv; nothing is written then.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory.contexts import contexts, print_contexts
from memory.losses import per_logit, print_per_logit
from memory.rows import MEASURED, Row, read_rows
from memory.scoring import VERDICTS, Answer, Verdicts, error_of, ours, print_scores, scores_by, verdicts

RESULTS = Path(__file__).resolve().parent / "results"
US = "this project"
GROUPS = {
    "method": lambda row: row.method,
    "architecture": lambda row: row.family,
    "kind of figure": lambda row: row.kind,
    "stack and kind of figure": lambda row: f"{row.stack}, {row.method}, {row.kind}",
}


def main() -> None:
    """Print errors by group, verdicts, losses and contexts, and write the file."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", action="store_true", help="every row with its error")
    options.add_argument("--rivals", action="store_true", help="ask other estimators about the same rows")
    options.add_argument("--data", type=Path, default=MEASURED, metavar="FILE", help="measured rows, as CSV")
    asked = options.parse_args()
    rows, left_out = read_rows(asked.data)
    answers = {US: {row.id: ours(row) for row in rows}}
    if asked.rows:
        _print_rows(rows, answers[US])
    document: dict[str, Any] = {"rows": len(rows), "left_out": left_out, "scores": {}}
    for group, key in GROUPS.items():
        scores = scores_by(rows, answers[US], key)
        print_scores(f"by {group}", scores)
        document["scores"][group] = {name: value.to_json() for name, value in scores.items()}
    print(
        f"{left_out} rows left out: no batch or exact length, a setting that is not told, GRPO of unknown settings, or less measured "
        "than weights and layers' inputs take"
    )
    if asked.rivals:
        from memory.rivals import rivals

        for name, said in rivals(rows).items():
            document.setdefault("rivals", {})[name] = _compare(name, rows, said, answers[US])
            answers[name] = said
    counts = {name: verdicts(rows, said) for name, said in answers.items()}
    _print_verdicts(counts)
    document["verdicts"] = {name: value.to_json() for name, value in counts.items()}
    if asked.data != MEASURED:
        return
    found, longest = per_logit(), contexts()
    print_per_logit(found)
    print_contexts(longest)
    document["bytes_per_logit"] = [asdict(row) | {"measured": round(row.measured, 3)} for row in found]
    document["contexts"] = [asdict(row) | {"inside": row.inside} for row in longest]
    if asked.rivals:
        _write(document)


def _compare(name: str, rows: Iterable[Row], said: Mapping[str, Answer], own: Mapping[str, Answer]) -> dict[str, Any]:
    """A rival and this project on the rows that the rival answers."""
    shared = [row for row in rows if row.id in said]
    document: dict[str, Any] = {}
    for who, given in ((name, said), (US, own)):
        document[who] = {}
        for group in ("method", "architecture"):
            scores = scores_by(shared, given, GROUPS[group])
            print_scores(f"{who}, rows {name} answers, by {group}", scores)
            document[who][group] = {key: value.to_json() for key, value in scores.items()}
    return document


def _print_verdicts(counts: Mapping[str, Verdicts]) -> None:
    head = "".join(f"{word:>14}" for word in VERDICTS)
    print(f"\n{'verdicts':16} {'of runs that ran':>42} {'of runs that went out of memory':>42}\n{'':16} {head} {head}")
    for name, value in counts.items():
        print(f"{name:16} " + " ".join("".join(f"{side[word]:14}" for word in VERDICTS) for side in (value.ran, value.ran_out)))


def _print_rows(rows: Iterable[Row], answers: Mapping[str, Answer]) -> None:
    for row in rows:
        workload, answer = row.workload, answers[row.id]
        happened = "ran out of memory" if row.ran_out else f"measured {row.measured_gib:7.2f}  {error_of(row, answer):+7.1%}"
        print(
            f"{row.id:12} {row.facts.name[-22:] or row.family:22} {row.method:6} b{workload.micro_batch} s{workload.sequence} {workload.checkpointing:9} "
            f"{workload.attention:6} {workload.sharding.kind:5} n{row.gpus} {row.kind:9} estimated {answer.gib:7.2f}  {answer.verdict or '':12} {happened}"
        )


def _write(document: dict[str, Any]) -> None:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"estimate-{date}.json").write_text(json.dumps({"date": date} | document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
