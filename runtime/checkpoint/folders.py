"""Which folders of a store have an object of a given name, found by as few requests as it takes: by a list of everything, or by a look into each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from runtime.checkpoint.store import Store
from runtime.config.problem import UserError

# A request lists so many objects, in most stores, and costs as much as a dozen looks at single ones (S3: 5 and 0.4 USD a million, 2026-11-22), which are
# made beside each other. How many objects there are nobody tells. So they are listed until that has cost as much as the looks would: at most twice the
# better of both ways is paid, and a page and the names of the folders more.
_PAGE, _LOOK = 1000, 1000 // 12
_TOGETHER = 16


def folders_with(store: Store, prefix: str, name: str, *, wanted: Callable[[str], bool], foreign: bool = False) -> dict[str, bool]:
    """The `wanted` folders directly below `prefix` that have objects, and whether each has one called `name` directly in it.

    With `foreign`, somebody else's may lie between them: only those that have it are told, and one that these credentials may not look into has not.
    Raises as Store.list, Store.folders and Store.stat.
    """
    found: dict[str, bool] = {}
    names: list[str] | None = None
    for count, stat in enumerate(store.list(prefix), 1):
        folder, slash, rest = stat.key.removeprefix(prefix).partition("/")
        if slash and wanted(folder):
            found[folder] = found.get(folder, False) or rest == name
        # Before the next page is asked for.
        if count >= _PAGE and names is None:
            names = sorted({*found, *filter(wanted, store.folders(prefix))})
        if names is not None and count >= _LOOK * len(names):
            return _looked(store, prefix, name, names, foreign=foreign)
    return {folder: has for folder, has in found.items() if has or not foreign}


def _looked(store: Store, prefix: str, name: str, names: list[str], *, foreign: bool) -> dict[str, bool]:
    def look(folder: str) -> bool | None:
        """None for one that is not to be told of; some stores show folders that were emptied."""
        try:
            if store.stat(f"{prefix}{folder}/{name}") is not None:
                return True
        except UserError as error:
            if not foreign or any(problem.code != "no-permission" for problem in error.problems):
                raise
        return None if foreign or next(iter(store.list(f"{prefix}{folder}/")), None) is None else False

    with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="folders") as pool:
        return {folder: seen for folder, seen in zip(names, pool.map(look, names), strict=True) if seen is not None}
