"""The seal with two writers of one run at once, in every order of their requests, each dying at each of them: what can be read is whole.

A zombie (attempt 1, whose place has been taken) and its successor (attempt 2) seal and prune over one store; `SEAL_EXPLORE=full` looks at the larger
scenes, of minutes: longer lives, failing requests everywhere, wrong bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from interleaving import Content, Explorer, HeldStore, InTurn, Program, Request
from tenacity import wait_none

from runtime.checkpoint import patience, retention, stored, storing
from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.lease import FencedError, Lease
from runtime.checkpoint.manifest import Manifest, parse_manifest
from runtime.checkpoint.restore import survey
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.store import Capabilities, Store
from runtime.checkpoint.stored import RunStore, file_key, newest_manifest
from runtime.checkpoint.storing import LostError, seal_in_store
from runtime.config.problem import UserError

FULL = os.environ.get("SEAL_EXPLORE") == "full"
TORN = b"half of a mani"
HONOURS = {
    "all": Capabilities(conditional_put=True, conditional_replace=True),
    "create": Capabilities(conditional_put=True),
    "nothing": Capabilities(conditional_put=False),
}


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "ThreadPoolExecutor", InTurn)
    monkeypatch.setattr(stored, "ThreadPoolExecutor", InTurn)
    monkeypatch.setattr(retention, "ThreadPoolExecutor", InTurn)
    monkeypatch.setattr(patience, "_WAIT", wait_none())


class OneChangeALook:
    """A store that others see changed only by a writer that has asked for its lease since its last change."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._looked = False

    def look(self) -> None:
        self._lease.hold()
        self._looked = True

    def __getattr__(self, name: str) -> Any:
        if name in ("put_file", "put_bytes", "delete"):
            assert self._looked, f"{name} without a look at the lease"
            self._looked = False
        return getattr(self._store, name)


class Scene:
    """Local checkpoints of both attempts, and what a reader makes of a store."""

    def __init__(self, tmp_path: Path, sealed: Any, honours: Capabilities, *, same: bool, files: int = 2, frozen: bool = False) -> None:
        self.honours = honours
        self._sealed = sealed
        self._root = tmp_path
        self._same = same
        self._files = files
        self._frozen = frozen
        self._known: dict[frozenset[tuple[str, bytes]], int] = {}
        self._parsed = lru_cache(maxsize=None)(lambda content: parse_manifest(content, place=""))

    def folder(self, attempt: int, step: int) -> Path:
        folder = self._root / f"attempt-{attempt}" / f"step-{step:08d}"
        if not folder.is_dir():
            who = 0 if self._same else attempt
            files = {name: f"{name} of {step} by {who}".encode() for name in ("model", "state")[: self._files]}
            if self._frozen:
                files["model"] = b"the same in every checkpoint"
            self._sealed(step, checkpoints=folder.parent, attempt=attempt, files=files)
        return folder

    def life(
        self,
        attempt: int,
        *steps: int,
        keep: int | None = 1,
        leased: bool = False,
        looks: bool = False,
        copies: bool = False,
        best: int = 0,
    ) -> Program:
        """What a process does to the store: take the lease, then seal and prune, as the uploader does; returns how it ended. With `copies` it has the
        store copy what the newest checkpoint there has too."""
        for step in steps:
            self.folder(attempt, step)

        def run(store: Store) -> str:
            writer = f"{attempt}-{'abc'[attempt - 1] * 8}"
            lease = Lease(RunStore(store=store, run="run"), attempt=attempt, writer=writer, clock=lambda: 0.0)
            looking = OneChangeALook(store, lease)
            guard = looking.look if leased else lambda: None
            place = RunStore(store=looking if leased else store, run="run")
            ends = []
            if looks:
                found = survey([place]).found
                ends.append("from nothing" if found is None else f"from {found.step}")
            for step in steps:
                sent: dict[str, int] = {}
                for _ in range(4):
                    try:
                        guard()
                        earlier = newest_manifest(place) if copies else None
                        seal_in_store(place, self.folder(attempt, step), writer=writer, sent=sent, earlier=earlier, guard=guard)
                        if keep is not None:
                            prune_stored(place, Keep(last=keep, best=frozenset({best})), attempt=attempt, sealed=step, guard=guard)
                        ends.append("sealed")
                        break
                    except LostError as lost:
                        ends.append(f"lost to {lost.winner.attempt}")
                        break
                    except FencedError:
                        return ", ".join([*ends, "fenced"])
                    except (OSError, UserError):
                        continue
                else:
                    raise AssertionError("gave up")
            return ", ".join(ends)

        return run

    def content_after(self, content: Content, *programs: Program) -> Content:
        store = HeldStore(content, self.honours)
        for program in programs:
            program(store)
        return store.content

    def newest(self, content: Content) -> int:
        """The newest step that a reader accepts, 0 for none; it is whole, and nothing newer claims to be sealed and is not."""
        manifests = {key: self._read(content[key]) for key in content if key.endswith(f"/{MANIFEST}")}
        place = RunStore(store=HeldStore(content, self.honours), run="run")
        named = {file_key(place, manifest, file) for manifest in manifests.values() if manifest for file in manifest.files}
        seen = frozenset((key, content[key]) for key in content if key in manifests or key in named)
        if seen not in self._known:
            self._known[seen] = self._look(dict(seen))
        return self._known[seen]

    def _look(self, content: Content) -> int:
        place = RunStore(store=HeldStore(content, self.honours), run="run")
        seen = survey([place])
        torn = {place.url(key.removeprefix("run/").removesuffix(f"/{MANIFEST}")) for key in content if content[key] == TORN}
        broken = [problem for problem in seen.skipped if problem.code != "unsealed" and problem.place not in torn]
        assert broken == [], "the newest manifest does not match its objects"
        if seen.found is None:
            return 0
        step, manifest = seen.found.step, seen.found.manifest
        held = {file.path: content[file_key(place, manifest, file)] for file in manifest.files}
        sources = [self._root / f"attempt-{attempt}" / f"step-{step:08d}" for attempt in (1, 2, 3)]
        wholes = [
            {path.name: path.read_bytes() for path in source.iterdir() if path.name != MANIFEST} for source in sources if source.is_dir()
        ]
        assert held in wholes, f"step {step} is a mixture"
        return step

    def _read(self, content: bytes) -> Manifest | None:
        try:
            manifest: Manifest = self._parsed(content)
        except UserError:
            return None
        return manifest


def explore(
    scene: Scene, content: Content, *programs: Program, at_end: Callable[[Content, tuple[object, ...]], None], **options: Any
) -> int:
    finished: dict[frozenset[tuple[str, bytes]], None] = {}

    def on_change(before: Content, after: Content, _who: int, _request: Request) -> None:
        was, now = scene.newest(before), scene.newest(after)
        assert now >= was, f"the newest went back from {was} to {now}"

    def on_end(content: Content, results: tuple[object, ...]) -> None:
        at_end(content, results)
        key = frozenset(content.items())
        if key not in finished:
            finished[key] = None
            third = HeldStore(content, scene.honours)
            newest = scene.newest(content)
            assert scene.life(3, newest + 10, leased=True)(third) == "sealed", "a third writer cannot seal"
            assert scene.newest(third.content) == newest + 10

    explorer = Explorer(programs=programs, honours=scene.honours, on_change=on_change, on_end=on_end, **options)
    seen = explorer.walk(content)
    assert explorer.complete
    return seen


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("honours", HONOURS)
def test_the_seal_alone_keeps_two_writers_apart(tmp_path: Path, sealed: Any, honours: str, same: bool) -> None:
    """Without a lease: both go on to the end, sealing the same steps and dropping the older."""
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=same)
    start = scene.content_after({}, scene.life(1, 30))
    ends: set[tuple[object, ...]] = set()
    steps = (40, 50) if FULL else (40,)
    seen = explore(scene, start, scene.life(1, *steps), scene.life(2, *steps), at_end=lambda _content, results: ends.add(results))
    assert ("sealed", "sealed") in ends or not same or FULL
    assert seen > 500


@pytest.mark.parametrize("honours", HONOURS)
def test_a_zombie_stops_at_its_next_change(tmp_path: Path, sealed: Any, honours: str) -> None:
    """With a lease: once the successor has taken it, the zombie makes one more change at most, and ends by saying why."""
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1)
    start = scene.content_after({}, scene.life(1, 30, leased=True))
    ends: set[tuple[object, ...]] = set()
    zombie, successor = ((40, 50), (40, 50)) if FULL else ((40,), (50,))
    programs = scene.life(1, *zombie, leased=True), scene.life(2, *successor, leased=True)
    seen = explore(scene, start, *programs, at_end=lambda _content, results: ends.add(results))
    assert ("fenced", ", ".join("sealed" for _ in successor)) in ends
    assert not any("fenced" in str(result) for _, result in ends), "the successor was told to stop"
    assert seen > 500


@pytest.mark.skipif(not FULL, reason="a minute; SEAL_EXPLORE=full")
@pytest.mark.parametrize("attempts", [(2, 1), (1, 2)])
@pytest.mark.parametrize("honours", HONOURS)
def test_a_lease_that_is_taken_for_run_out_while_its_holder_lives(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch, honours: str, attempts: tuple[int, int]
) -> None:
    """By a clock that is wrong, or a holder that was stopped for long: also when the numbers of the attempts began anew."""
    monkeypatch.setattr(Lease, "_is_over", lambda _lease, _seen: True)
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1)
    start = scene.content_after({}, scene.life(1, 30, leased=True))
    ends: set[tuple[object, ...]] = set()
    programs = scene.life(attempts[0], 40, leased=True), scene.life(attempts[1], 50, leased=True)
    explore(scene, start, *programs, at_end=lambda _content, results: ends.add(results))
    assert ("fenced", "fenced") not in ends, "nobody goes on"


@pytest.mark.parametrize("honours", HONOURS)
def test_both_replace_a_broken_manifest(tmp_path: Path, sealed: Any, honours: str) -> None:
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False)
    start = {**scene.content_after({}, scene.life(1, 30)), "run/checkpoints/step-00000040/manifest.json": TORN}
    explore(scene, start, scene.life(1, 40, keep=None), scene.life(2, 40, keep=None), at_end=lambda _content, _results: None)


@pytest.mark.parametrize("honours", HONOURS)
def test_bytes_that_are_read_wrong(tmp_path: Path, sealed: Any, honours: str) -> None:
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False)
    start = scene.content_after({}, scene.life(1, 30, 40, keep=None))
    explore(scene, start, scene.life(2, 40, keep=None), at_end=lambda _content, _results: None, faults=2, wrong_bytes=True)


@pytest.mark.parametrize("honours", HONOURS if FULL else ["create"])
def test_a_kept_checkpoint_of_a_dead_attempt_stays_whatever_is_read_wrong(tmp_path: Path, sealed: Any, honours: str) -> None:
    """The best one is older than the newest: no manifest that arrives damaged, or seems to be missing, makes leftovers of what it names."""
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1)
    start = scene.content_after({}, scene.life(1, 10, 20, keep=None))
    left = {"run/checkpoints/step-00000020/0-dead/model": b"left"}
    best = {key: content for key, content in start.items() if "/step-00000010/" in key}

    def at_end(content: Content, _results: tuple[object, ...]) -> None:
        assert best.items() <= content.items(), "the best checkpoint was broken"

    explore(scene, {**start, **left}, scene.life(2, 30, best=10), at_end=at_end, faults=2 if FULL else 1, wrong_bytes=True)


@pytest.mark.parametrize("honours", HONOURS)
def test_a_restore_while_the_zombie_goes_on(tmp_path: Path, sealed: Any, honours: str) -> None:
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=True)
    start = scene.content_after({}, scene.life(1, 30))
    seen = set()
    explore(scene, start, scene.life(1, 40), scene.life(2, looks=True), at_end=lambda _content, results: seen.add(results[1]))
    assert seen - {None} == {"from 30", "from 40"}


@pytest.mark.parametrize("honours", HONOURS)
def test_a_request_fails_anywhere(tmp_path: Path, sealed: Any, honours: str) -> None:
    """The successor seals and prunes over what a dead zombie left, and each request fails, or only its answer is lost."""
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1)
    start = scene.content_after({}, scene.life(1, 20, 30, keep=None))
    left = {"run/checkpoints/step-00000010/1-aaaaaaaa/model": b"left", "run/checkpoints/step-00000040/1-aaaaaaaa/model": b"left"}
    ends: set[tuple[object, ...]] = set()
    explore(scene, {**start, **left}, scene.life(2, 40), at_end=lambda _content, results: ends.add(results), faults=2 if FULL else 1)
    assert ends <= {("sealed",), (None,), ("lost to 2",)}


@pytest.mark.parametrize("honours", HONOURS if FULL else ["create"])
def test_unchanged_files_are_copied_while_the_zombie_deletes(tmp_path: Path, sealed: Any, honours: str) -> None:
    """The successor has the store copy what step 30 has, which the zombie drops meanwhile: it is copied whole, or sent."""
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1, frozen=True)
    start = scene.content_after({}, scene.life(1, 30))
    programs = scene.life(1, 40), scene.life(2, 50, copies=True)
    ends: set[tuple[object, ...]] = set()
    explore(scene, start, *programs, at_end=lambda _content, results: ends.add(results))
    assert ("sealed", "sealed") in ends


def test_a_copy_that_fails_anywhere(tmp_path: Path, sealed: Any) -> None:
    scene = Scene(tmp_path, sealed, HONOURS["create"], same=False, files=2 if FULL else 1, frozen=True)
    start = scene.content_after({}, scene.life(1, 30))
    explore(scene, start, scene.life(2, 40, copies=True), at_end=lambda _content, _results: None, faults=1, wrong_bytes=True)


@pytest.mark.skipif(not FULL, reason="minutes; SEAL_EXPLORE=full")
@pytest.mark.parametrize("leased", [False, True])
@pytest.mark.parametrize("honours", HONOURS)
def test_a_request_of_either_fails_anywhere(tmp_path: Path, sealed: Any, honours: str, leased: bool) -> None:
    scene = Scene(tmp_path, sealed, HONOURS[honours], same=False, files=1)
    start = scene.content_after({}, scene.life(1, 30))
    programs = scene.life(1, 40, leased=leased), scene.life(2, 40, leased=leased)
    explore(scene, start, *programs, at_end=lambda _content, _results: None, faults=1, wrong_bytes=True)
