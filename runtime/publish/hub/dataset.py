"""Prepared data on the Hub: rows of token ids as parquet files, which `load_dataset` and the recipes of others take as they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.publish.hub.access import ready_to_write
from runtime.publish.hub.pushing import Pushed, push
from runtime.publish.hub.repository import dataset_repository

if TYPE_CHECKING:
    import datasets

    from runtime.data.prepare import Prepared

PATIENCE_S = 600.0
# The Hub's own limit for files it shows and streams.
_FILE_BYTES = 500_000_000


def push_prepared(config: Any, prepared: Prepared, *, patience_s: float = PATIENCE_S) -> Pushed:
    """Put the prepared rows into `push_dataset_to_hub` as `data/train-….parquet` and `data/validation-….parquet`, in place of what was in `data` before.

    Raises UserError: exit 8 when the Hub refuses or keeps failing for `patience_s` seconds, exit 7 when what is there afterwards differs.
    """
    repository = dataset_repository(config)
    assert repository is not None
    repository = ready_to_write(repository, patience_s=patience_s)
    with tempfile.TemporaryDirectory(prefix="push-", dir=prepared.path.parent) as name:
        files = _written("train", prepared.train, Path(name))
        if prepared.validation is not None:
            files |= _written("validation", prepared.validation, Path(name))
        return push(
            repository,
            files,
            message=f"prepared data, {prepared.report.train_rows:,} rows to train on",
            stale=lambda there: [path for path in there if path.startswith("data/") and path.endswith(".parquet")],
            patience_s=patience_s,
        )


def _written(split: str, rows: datasets.Dataset, folder: Path) -> dict[str, Path]:
    count = max(1, -(-(rows.data.nbytes or 0) // _FILE_BYTES))
    files = {}
    for index in range(count):
        name = f"{split}-{index:05d}-of-{count:05d}.parquet"
        rows.shard(num_shards=count, index=index, contiguous=True).to_parquet(folder / name)
        files[f"data/{name}"] = folder / name
    return files
