"""Death at every single change of the disk: there is a sealed checkpoint or nothing that looks like one, and the earlier ones stay."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.checksum import THREADS
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.fetching import copy_sealed
from runtime.checkpoint.layout import LEASE
from runtime.checkpoint.lease import TTL_S, Lease
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.probe import LEFT_S
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.retention import Keep, prune, prune_stored
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.staging import sweep_staging
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.storing import seal_in_store

Make = Callable[..., Path]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where the system has that: hundreds of processes each flush their files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def reset(tmp_path: Path) -> Callable[[], None]:
    """Puts `work` back to what it was when first called."""
    work, saved = tmp_path / "work", tmp_path / "saved"

    def put_back() -> None:
        if not saved.exists():
            shutil.copytree(work, saved)
        shutil.rmtree(work)
        shutil.copytree(saved, work)

    return put_back


def write_and_seal(checkpoints: Path, step: int) -> None:
    staging = new_staging(checkpoints)
    (staging / "rng").mkdir()
    for name in ("model.safetensors", "optimizer.pt", "rng/0"):
        (staging / name).write_bytes(name.encode() * 50)
    seal(staging, checkpoints / f"step-{step:08d}", step=step, config_hash="abc", world_size=1)


def check_local(checkpoints: Path, *, present: set[int], possible: set[int]) -> set[int]:
    """Every checkpoint that can be seen verifies; returns their steps."""
    steps = set()
    for folder in checkpoints.glob("step-*"):
        manifest = read_manifest(folder)
        assert verify(folder, manifest) == ()
        steps.add(manifest.step)
    assert present <= steps <= present | possible
    found = find_newest([checkpoints])
    assert found is not None
    assert found.step == max(steps)
    return steps


def test_seal(sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    checkpoints = tmp_path / "work" / "checkpoints"
    sealed(40, checkpoints=checkpoints)
    outcomes = []
    for _ in deaths(reset, lambda: write_and_seal(checkpoints, 50)):
        outcomes.append(50 in check_local(checkpoints, present={40}, possible={50}))
        sweep_staging(checkpoints)
        assert all(entry.name.startswith("step-") for entry in checkpoints.iterdir())
        if not outcomes[-1]:
            write_and_seal(checkpoints, 50)
        check_local(checkpoints, present={40, 50}, possible=set())
    # Once sealed, never unsealed; and the walk really went through the middle of it.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert len(outcomes) > 10
    check_local(checkpoints, present={40, 50}, possible=set())


def test_seal_over_a_broken_one(sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    checkpoints = tmp_path / "work" / "checkpoints"
    sealed(40, checkpoints=checkpoints)
    broken = sealed(50, checkpoints=checkpoints)
    (broken / "trainer_state.json").write_text("damaged")
    for _ in deaths(reset, lambda: write_and_seal(checkpoints, 50)):
        found = find_newest([checkpoints])
        assert found is not None
        assert verify(checkpoints / "step-00000040", read_manifest(checkpoints / "step-00000040")) == ()
        sweep_staging(checkpoints)
        if found.step == 40:
            write_and_seal(checkpoints, 50)
        check_local(checkpoints, present={40, 50}, possible=set())
    check_local(checkpoints, present={40, 50}, possible=set())


def test_prune(sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    checkpoints = tmp_path / "work" / "checkpoints"
    for step in (10, 20, 30, 40):
        sealed(step, checkpoints=checkpoints)
    keep = Keep(last=1, best=frozenset({20}))
    points = 0
    for _ in deaths(reset, lambda: prune(checkpoints, keep)):
        points += 1
        check_local(checkpoints, present={20, 40}, possible={10, 30})
        sweep_staging(checkpoints)
        prune(checkpoints, keep)
        assert {entry.name for entry in checkpoints.iterdir()} == {"step-00000020", "step-00000040"}
    assert points > 10


def check_stored(place: RunStore, step: int) -> bool:
    """Whether the step is sealed in the store; what is named there is complete."""
    try:
        manifest = place.manifest(f"checkpoints/step-{step:08d}")
    except FileNotFoundError:
        return False
    assert verify_stored(place, manifest) == ()
    return True


@pytest.mark.parametrize("threads", [1, THREADS])
def test_seal_in_a_directory_store(
    sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = DirectoryStore.capabilities.func
    limited = cached_property(lambda store: replace(found(store), together=threads))
    limited.__set_name__(DirectoryStore, "capabilities")
    monkeypatch.setattr(DirectoryStore, "capabilities", limited)
    folder = sealed(50, checkpoints=tmp_path / "work" / "checkpoints")
    root = tmp_path / "work" / "store"

    def upload(writer: str = "1-aaaa") -> None:
        seal_in_store(RunStore(store=DirectoryStore(root), run="run"), folder, writer=writer)

    outcomes = []
    for _ in deaths(reset, upload):
        outcomes.append(check_stored(RunStore(store=DirectoryStore(root), run="run"), 50))
        upload("2-bbbb")
        assert check_stored(RunStore(store=DirectoryStore(root), run="run"), 50)
        assert list((root / ".partial").iterdir()) == []
    assert outcomes[0] is False
    # With files in parallel the same point is not the same moment in every run; one after another, the last death comes after the seal.
    if threads == 1:
        assert outcomes == sorted(outcomes)
        assert outcomes[-1] is True
    assert len(outcomes) > 20


def test_prune_a_store(sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    place = RunStore(store=DirectoryStore(tmp_path / "work" / "store"), run="run")
    for step in (10, 20, 30):
        seal_in_store(place, sealed(step), writer="1-aaaa")
    for _ in deaths(reset, lambda: prune_stored(place, Keep(last=1), attempt=1)):
        check_stored(place, 10)
        check_stored(place, 20)
        assert check_stored(place, 30)
        prune_stored(place, Keep(last=1), attempt=2)
        assert {stat.key.split("/")[2] for stat in place.store.list("")} == {"step-00000030"}


def test_probe_a_directory_store(tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    root = tmp_path / "work" / "store"
    root.mkdir(parents=True)
    left = []
    for _ in deaths(reset, lambda: DirectoryStore(root).capabilities):
        left.append(len([*root.glob(".partial/*")]))
        assert DirectoryStore(root).capabilities.conditional_put
        assert [*root.glob(".partial/*")] == []
    assert max(left) == 2
    assert len(left) > 5


def test_ask_a_directory_store_for_its_time(tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    """Which is asked for when a lease looks as if nobody held it: what who died there has left goes when it is a day old, and not before."""
    place = RunStore(store=DirectoryStore(tmp_path / "work" / "store"), run="run")
    Lease(place, attempt=3).hold()
    root = tmp_path / "work" / "store" / "run"
    _age(root / LEASE, 2 * TTL_S)
    left = []
    for _ in deaths(reset, Lease(place, attempt=1).hold):
        found = [*root.glob(f"{LEASE}.*/*")]
        left.append(len(found))
        later = Lease(place, attempt=4)
        later.hold()
        later.release()
        assert [*root.glob(f"{LEASE}.*/*")] == found
        for path in found:
            _age(path, LEFT_S + 1)
        later = Lease(place, attempt=5)
        later.hold()
        later.release()
        assert [entry.name for entry in root.iterdir() if any(entry.rglob("*")) or entry.is_file()] == [LEASE]
    assert max(left) == 1
    assert left.index(1) < len(left) - 3


def _age(path: Path, seconds: float) -> None:
    modified = path.stat().st_mtime - seconds
    os.utime(path, (modified, modified))


def test_fetch(sealed: Make, tmp_path: Path, reset: Callable[[], None], deaths: Any) -> None:
    place = RunStore(store=DirectoryStore(tmp_path / "store"), run="run")
    manifest = seal_in_store(place, sealed(50), writer="1-aaaa")
    into = tmp_path / "work" / "step-00000050"
    into.parent.mkdir()

    def fetch() -> Any:
        return copy_sealed(place, manifest, into)

    for _ in deaths(reset, fetch):
        assert not into.exists() or verify(into, read_manifest(into)) == ()
        sweep_staging(into.parent)
        fetch()
        assert [entry.name for entry in into.parent.iterdir()] == ["step-00000050"]
