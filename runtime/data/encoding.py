"""A strategy over all rows of a dataset, in batches, in one process or several."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import pyarrow as pa

from runtime.config.problem import UserError
from runtime.data.taught import TaughtStrategy
from runtime.data.tokens import TAUGHT_SCHEMA, TEACHER_IDS, TEACHER_SCORES, TOKEN_SCHEMA

if TYPE_CHECKING:
    from runtime.data.strategies import Strategy

_BATCH = 1000
# A teacher's candidates are a hundred times their tokens.
_TAUGHT_BATCH = 20
# Starting a process costs about a second: more of them pay only from this many rows each.
_ROWS_FOR_A_PROCESS = 20_000
_FEATURES = datasets.Features({"input_ids": datasets.List(datasets.Value("int32")), "labels": datasets.List(datasets.Value("int32"))})
_TAUGHT_FEATURES = datasets.Features(
    {**_FEATURES, TEACHER_IDS: datasets.List(datasets.Value("int32")), TEACHER_SCORES: datasets.List(datasets.Value("float32"))}
)


def encoded(
    rows: datasets.Dataset,
    strategy: Strategy,
    *,
    scratch: Path,
    option: str,
    place: str,
    processes: int | None,
    progress: Callable[[str, int, int], None],
) -> pa.Table:
    """The samples of all rows, in order, mapped from a file under `scratch`. Errors of the strategy come out with the dataset they are about."""
    count = processes or max(1, min(os.cpu_count() or 1, len(rows) // _ROWS_FOR_A_PROCESS))
    count = max(1, min(count, len(rows)))
    total = len(rows)
    done = 0
    taught = isinstance(strategy, TaughtStrategy)
    schema = TAUGHT_SCHEMA if taught else TOKEN_SCHEMA

    def batch(columns: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        nonlocal done
        table = strategy.encode(columns, indices)
        done += len(indices)
        if count == 1:
            progress("tokenize", min(done, total), total)
        return table

    # Threads of the tokenizer and forked processes do not go together.
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count == 1 else "false"
    try:
        made = rows.with_format(None).map(
            _Batches(strategy) if count > 1 else batch,
            with_indices=True,
            batched=True,
            batch_size=_TAUGHT_BATCH if taught else _BATCH,
            num_proc=count if count > 1 else None,
            remove_columns=rows.column_names,
            features=_TAUGHT_FEATURES if taught else _FEATURES,
            load_from_cache_file=False,
            cache_file_name=str(scratch / f"{option.replace('[', '-').rstrip(']')}.tokens"),
            new_fingerprint=f"tokens{os.getpid()}x{id(strategy)}",
        )
    except UserError as error:
        raise UserError(
            (replace(problem, message=f"{option}, {problem.message}", place=problem.place or place) for problem in error.problems),
            exit_code=error.exit_code,
        ) from error
    finally:
        if before is None:
            os.environ.pop("TOKENIZERS_PARALLELISM", None)
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
    progress("tokenize", total, total)
    table: pa.Table = made.data.table
    return table.select(schema.names).cast(schema)


class _Batches:
    """A strategy as a plain callable that other processes can be sent."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def __call__(self, columns: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        return self.strategy.encode(columns, indices)
