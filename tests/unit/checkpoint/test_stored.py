"""Which steps of a run a store has, and which of them have a manifest: the same, however many objects they are, and by as few requests as that takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interleaving import HeldStore

from runtime.checkpoint import folders
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.layout import MANIFEST, step_folder
from runtime.checkpoint.store import Capabilities, Stat
from runtime.checkpoint.stored import RunStore, newest_manifest, newest_step
from runtime.checkpoint.storing import seal_in_store


class Asked(DirectoryStore):
    """Notes how many objects were listed, and what else was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listed = 0
        self.looks: list[str] = []

    def list(self, prefix: str) -> Iterator[Stat]:
        for stat in super().list(prefix):
            self.listed += 1
            yield stat

    def folders(self, prefix: str) -> Iterator[str]:
        self.looks.append("folders")
        return super().folders(prefix)

    def stat(self, key: str) -> Stat | None:
        self.looks.append("stat")
        return super().stat(key)


@pytest.fixture
def place(tmp_path: Path) -> RunStore:
    return RunStore(store=Asked(tmp_path / "store"), run="run")


def fill(place: RunStore, sizes: dict[int, int], *, unsealed: int) -> None:
    for step, size in sizes.items():
        for number in range(size):
            place.store.put_bytes(place.key(f"checkpoints/{step_folder(step)}/1-aaaa/{number}"), b"x")
        if step != unsealed:
            place.store.put_bytes(place.key(f"checkpoints/{step_folder(step)}/{MANIFEST}"), b"{}")


def test_of_small_steps_one_list_tells_all(place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_PAGE", 10)
    monkeypatch.setattr(folders, "_LOOK", 6)
    fill(place, {10: 5, 20: 5, 30: 5, 40: 5}, unsealed=40)
    assert place.steps() == {10: True, 20: True, 30: True, 40: False}
    assert (place.store.listed, place.store.looks) == (23, ["folders"])  # type: ignore[attr-defined]


def test_of_large_steps_each_is_looked_at(place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_PAGE", 10)
    monkeypatch.setattr(folders, "_LOOK", 6)
    fill(place, {10: 90, 20: 90, 30: 90}, unsealed=30)
    # Emptied, as some stores show it for a while.
    (place.store.root / "run" / "checkpoints" / step_folder(5)).mkdir()  # type: ignore[attr-defined]
    assert place.steps() == {10: True, 20: True, 30: False}
    assert place.store.listed <= 6 * 4 + 2  # type: ignore[attr-defined]
    assert sorted(place.store.looks) == ["folders", *["stat"] * 4]  # type: ignore[attr-defined]


KEYS = st.lists(
    st.tuples(
        st.sampled_from([step_folder(step) for step in (1, 2, 3)] + ["step-4", "other"]), st.sampled_from(["1-a/m", "1-a/n", MANIFEST])
    ),
    max_size=12,
)


@given(KEYS, st.integers(0, 8), st.integers(0, 8))
def test_both_ways_tell_the_same(keys: list[tuple[str, str]], page: int, wide: int) -> None:
    content = {f"run/checkpoints/{folder}/{rest}": b"x" for folder, rest in keys}
    place = RunStore(store=HeldStore(content, Capabilities(conditional_put=True)), run="run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_PAGE", 1000)
        expected = place.steps()
        patch.setattr(folders, "_PAGE", page)
        patch.setattr(folders, "_LOOK", wide)
        assert place.steps() == expected
    assert newest_step(place) == max((step for step, has in expected.items() if has), default=None)


def test_the_newest_manifest_is_looked_for_from_the_newest_step_on(place: RunStore, sealed: Any) -> None:
    assert (newest_manifest(place), newest_step(place)) == (None, None)
    made = {step: seal_in_store(place, sealed(step), writer="1-aaaa") for step in (10, 20)}
    place.store.put_bytes("run/checkpoints/step-00000030/1-bbbb/model", b"half")
    place.store.listed = 0  # type: ignore[attr-defined]
    assert (newest_manifest(place), newest_step(place)) == (made[20], 20)
    assert place.store.listed == 0  # type: ignore[attr-defined]
    place.store.put_bytes(f"run/checkpoints/step-00000030/{MANIFEST}", b"half of a mani")
    assert (newest_manifest(place), newest_step(place)) == (None, 30)
