"""Training data of a recipe, ready to train on: loaded, rendered, tokenized, masked, filtered, split, packed, and kept for the next start."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from runtime.config.data_key import data_key, note_of, prepared_folder
from runtime.config.problem import Problem, UserError
from runtime.data.cache import REPORT, built_once, content_key, note_folder
from runtime.data.encoding import encoded
from runtime.data.fingerprint import Part, described, seed_of
from runtime.data.packing import Packs, pack
from runtime.data.report import PreparedReport, Stopwatch, read_report, write_report
from runtime.data.selection import Rules, keep, set_aside, share, trained_within
from runtime.data.sources import find_source, load_rows, require_columns
from runtime.data.strategies import strategy_for
from runtime.data.tokens import Indices, TokenRows
from runtime.data.writing import write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Rows with `input_ids, labels, attention_mask, position_ids`; `path` is the folder of the training rows."""

    train: datasets.Dataset
    validation: datasets.Dataset | None
    report: PreparedReport
    path: Path


def prepare(config: Any, tokenizer: PreTrainedTokenizerBase, *, progress: Progress | None = None) -> Prepared:
    """The training and evaluation rows of `config`, from the folder of prepared data when the same rows were prepared the same way before.

    Raises UserError when a dataset cannot be read, has the wrong shape, or nothing is left to train on.
    """
    # The library's own bars would run through the progress that is shown here.
    datasets.disable_progress_bars()
    clock = Stopwatch()
    report_progress = progress or _unwatched
    if not config.datasets:
        raise UserError(
            Problem(code="missing", message="the recipe names no data", path="datasets", fix="add `datasets: [{path: …, type: …}]`")
        )
    warnings: list[Problem] = []
    # Taken before a row is read: a file that changes from here on has another key, and these counts are not taken for its own.
    recipe_key = data_key(config)
    train = [_part(entry, config, tokenizer, f"datasets[{number}]", warnings) for number, entry in enumerate(config.datasets)]
    test = [
        _part(entry, config, tokenizer, f"test_datasets[{number}]", warnings) for number, entry in enumerate(config.test_datasets or [])
    ]
    since = time.perf_counter()
    for number, part in enumerate([*train, *test]):
        report_progress("load", number, len(train) + len(test))
        if not part.source.files:
            part.rows = _rows(part, config)
    key = content_key(described(config, tokenizer, train, test))
    clock.add("load", since)
    root = prepared_folder(config.dataset_prepared_path)
    folder, cached = built_once(root, key, lambda staging: _build(staging, config, train, test, clock, warnings, report_progress))
    report = read_report(folder / REPORT, cached=cached, watch=clock)
    note_folder(note_of(root, recipe_key), folder)
    return Prepared(
        train=_opened(folder / "train", config),
        validation=_opened(folder / "validation", config) if (folder / "validation").exists() else None,
        report=report,
        path=(folder / "train").resolve(),
    )


def _part(entry: Any, config: Any, tokenizer: PreTrainedTokenizerBase, option: str, warnings: list[Problem]) -> Part:
    strategy, said = strategy_for(entry, config, tokenizer, path=option)
    warnings.extend(said)
    kind = "rows without a type" if entry.type is None else f"type '{entry.type}'" if isinstance(entry.type, str) else "this type"
    return Part(source=find_source(entry, option=option), strategy=strategy, entry=entry, kind=kind)


def _rows(part: Part, config: Any) -> datasets.Dataset:
    if part.rows is not None:
        return part.rows
    rows = load_rows(part.source, keep_in_memory=bool(config.dataset_keep_in_memory))
    if part.entry.shards:
        rows = rows.shard(num_shards=part.entry.shards, index=part.entry.shards_idx or 0)
    if part.entry.weight is not None and part.entry.weight < 1:
        rows = rows.select(share(len(rows), part.entry.weight, seed=seed_of(config)))
    require_columns(rows, part.strategy.columns, part.source, part.kind)
    return rows


def _build(
    staging: Path, config: Any, train: Sequence[Part], test: Sequence[Part], clock: Stopwatch, warnings: list[Problem], progress: Progress
) -> None:
    with tempfile.TemporaryDirectory(dir=staging, prefix="scratch-") as name:
        scratch = Path(name)
        rows_in, train_rows, train_sets = _tokenized(train, config, scratch, clock, progress)
        test_in, test_rows, _ = _tokenized(test, config, scratch, clock, progress) if test else (0, TokenRows([]), [])
        since = time.perf_counter()
        rules = Rules(
            max_len=config.sequence_len,
            min_len=2 if config.min_sample_len is None else config.min_sample_len,
            excess=config.excess_length_strategy or "drop",
            unique=bool(config.dataset_exact_deduplication),
        )
        seen: set[bytes] = set()
        staying, dropped = keep(train_rows, rules, seen=seen)
        if len(staying) == 0:
            raise UserError(_nothing_left(rows_in, dropped, config))
        eval_rows, eval_len = train_rows, config.eval_sequence_len or config.sequence_len
        training, evaluation = set_aside(staying, config.val_set_size or 0.0, seed=seed_of(config)) if not test else (staying, staying[:0])
        if test:
            eval_rows = test_rows
            evaluation, more = keep(
                test_rows, Rules(max_len=eval_len, min_len=rules.min_len, excess=rules.excess, unique=rules.unique), seen=seen
            )
            dropped += more
        elif rules.excess == "drop" and (long := train_rows.lengths[evaluation] > eval_len).any():
            dropped["too_long"] += int(long.sum())
            evaluation = evaluation[~long]
        training = _ordered(training, train_sets, config)
        if len(training) == 0:
            raise UserError(_nothing_left(rows_in, dropped, config))
        packs = _packs(train_rows, training, config, config.sequence_len, packed=bool(config.sample_packing))
        eval_packed = bool(config.sample_packing if config.eval_sample_packing is None else config.eval_sample_packing)
        progress("pack", 0, len(packs))
        write_rows(
            train_rows,
            packs,
            staging / "train",
            limit=config.sequence_len,
            scratch=scratch,
            files=config.num_dataset_shards_to_save,
            taught=train_rows.candidates > 0,
        )
        if len(evaluation):
            eval_packs = _packs(eval_rows, evaluation, config, eval_len, packed=eval_packed)
            write_rows(eval_rows, eval_packs, staging / "validation", limit=eval_len, scratch=scratch)
        progress("pack", len(packs), len(packs))
        clock.add("pack", since)
        lengths = np.minimum(train_rows.lengths[training], config.sequence_len)
        report = PreparedReport(
            rows_in=rows_in + test_in,
            rows_out=len(training) + len(evaluation),
            dropped=dict(sorted(dropped.items())),
            tokens=int(lengths.sum()),
            supervised_tokens=int(trained_within(train_rows, training, config.sequence_len).sum()),
            train_rows=len(training),
            validation_rows=len(evaluation),
            validation_tokens=int(np.minimum(eval_rows.lengths[evaluation], eval_len).sum()),
            packed_rows=len(packs) if config.sample_packing else None,
            packing_efficiency=round(float(lengths.sum()) / (len(packs) * config.sequence_len), 4) if config.sample_packing else None,
            longest=int(lengths.max()),
            seconds=clock.read(),
            warnings=tuple(_said(problem) for problem in warnings),
        )
    write_report(staging / REPORT, report)


def _tokenized(parts: Sequence[Part], config: Any, scratch: Path, clock: Stopwatch, progress: Progress) -> tuple[int, TokenRows, list[int]]:
    """(source rows, samples of all parts behind each other, samples of each part)."""
    count, tables, sizes = 0, [], []
    for part in parts:
        since = time.perf_counter()
        rows = _rows(part, config)
        clock.add("load", since)
        count += len(rows)
        since = time.perf_counter()
        tokens = encoded(
            rows,
            part.strategy,
            scratch=scratch,
            option=part.source.option,
            place=part.source.path,
            processes=config.dataset_num_proc,
            progress=progress,
        )
        clock.add("tokenize", since)
        tables.append(tokens)
        sizes.append(tokens.num_rows)
    return count, TokenRows(tables), sizes


def _ordered(samples: Indices, sizes: Sequence[int], config: Any) -> Indices:
    rng = np.random.default_rng([seed_of(config), 2])
    if config.shuffle_before_merging_datasets:
        bounds = np.searchsorted(samples, np.cumsum([0, *sizes]))
        samples = np.concatenate([rng.permutation(samples[first:last]) for first, last in pairwise(bounds)])
    if config.shuffle_merged_datasets is not False:
        samples = rng.permutation(samples)
    if config.dataset_shard_num:
        samples = samples[(config.dataset_shard_idx or 0) :: config.dataset_shard_num]
    return samples


def _packs(rows: TokenRows, samples: Indices, config: Any, limit: int, *, packed: bool) -> Packs:
    if not packed:
        return Packs(samples, np.ones(len(samples), dtype=np.int64))
    packs = pack(
        np.minimum(rows.lengths[samples], limit),
        limit,
        group_size=config.sample_packing_group_size or 100_000,
        bin_size=config.sample_packing_bin_size or 200,
        sequentially=bool(config.sample_packing_sequentially),
    )
    return Packs(samples[packs.order], packs.counts)


def _opened(folder: Path, config: Any) -> datasets.Dataset:
    rows = datasets.load_from_disk(str(folder), keep_in_memory=bool(config.dataset_keep_in_memory))
    return rows.with_format("numpy")


def _nothing_left(rows_in: int, dropped: Counter[str], config: Any) -> Problem:
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.most_common())
    worst = dropped.most_common(1)[0][0] if dropped else ""
    fixes = {
        "too_long": f"raise sequence_len (now {config.sequence_len}), or set `excess_length_strategy: truncate`",
        "nothing_trained": "check `roles_to_train`, `train_on_eos` and the names of the roles in the data: no turn is trained",
        "too_short": "lower min_sample_len",
    }
    return Problem(
        code="no-rows",
        message=f"nothing is left to train on: of {rows_in} rows, {reasons}",
        path="datasets",
        fix=fixes.get(worst, "check the data"),
    )


def _said(problem: Problem) -> dict[str, str]:
    return {"code": problem.code, "where": problem.where, "message": problem.message, "fix": problem.fix}


def _unwatched(stage: str, done: int, total: int) -> None:
    """Progress nobody asked for."""
