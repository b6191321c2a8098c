"""The places of runs in their storages; each storage is opened once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from launcher.state.stored_run import StoredRun
from runtime.checkpoint.store import Store
from runtime.checkpoint.stored import RunStore
from runtime.record import RunRecord


@dataclass(slots=True, kw_only=True)
class Storages:
    """Opens storages by their URL with `stores`."""

    stores: Callable[[str], Store]
    _opened: dict[str, Store] = field(default_factory=dict)

    def of(self, record: RunRecord) -> StoredRun:
        """The run of a record, in the storage that the record names."""
        assert record.storage is not None
        return self.at(record.storage, record.run)

    def at(self, storage: str, run: str) -> StoredRun:
        """The run in that storage, whether there is anything of it or not."""
        if storage not in self._opened:
            self._opened[storage] = self.stores(storage)
        return StoredRun(place=RunStore(store=self._opened[storage], run=run))
