"""The seal of two machines in every order of their requests, each dying at each of them: what can be read is whole, of one life, from both.

The words on the board are requests like others here. `SEAL_EXPLORE=full` looks at the larger scenes, of minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from boards import StoreBoard
from interleaving import Content, Explorer, HeldStore, InTurn, Program, Request
from tenacity import wait_none

from runtime.checkpoint import patience, stored, storing
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.others import Others
from runtime.checkpoint.portion import PortionError, place_facts
from runtime.checkpoint.restore import survey
from runtime.checkpoint.store import Capabilities, Store
from runtime.checkpoint.stored import RunStore, file_key
from runtime.checkpoint.storing import LostError, seal_in_store
from runtime.config.problem import UserError

FULL = os.environ.get("SEAL_EXPLORE") == "full"
HONOURS = {"create": Capabilities(conditional_put=True), "nothing": Capabilities(conditional_put=False)}
STEP = 40
LOOKS = 2


class Still(Follower):
    """Looks at the board only when it is told to."""

    def _work(self) -> None: ...


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (storing, stored):
        monkeypatch.setattr(module, "ThreadPoolExecutor", InTurn)
    monkeypatch.setattr(patience, "_WAIT", wait_none())


class Scene:
    """What two machines of several lives hold of one step, and what a reader makes of a store."""

    def __init__(self, tmp_path: Path, sealed: Any) -> None:
        self._files: dict[tuple[int, int], dict[str, bytes]] = {}
        self._folders: dict[tuple[int, int], Path] = {}
        for life in (1, 2):
            for index in (0, 1):
                files = {("model", "state")[index]: b"of machine %d in life %d" % (index, life)}
                facts = {"kind": "portion", "attempt": life, "extra": place_facts(index, 2)}
                self._files[life, index] = files
                self._folders[life, index] = sealed(STEP, checkpoints=tmp_path / f"{life}-{index}", files=files, **facts)

    def head(self, life: int) -> Program:
        def run(store: Store) -> str:
            place, board = RunStore(store=store, run="run"), StoreBoard(store, f"life-{life}")
            others, writer = Others(board, count=2), f"{life}-word"
            sent: dict[str, int] = {}
            call = None
            for _ in range(3):
                looks = iter(range(LOOKS))
                try:
                    call = call or others.call(STEP)
                    seal_in_store(
                        place,
                        self._folders[life, 0],
                        writer=f"{writer}-mark",
                        sent=sent,
                        whole=lambda own, looks=looks, call=call: others.whole(  # type: ignore[misc]
                            own,
                            call,
                            writer=writer,
                            cancelled=lambda: next(looks, None) is None,
                            guard=lambda: None,
                            pause=lambda _seconds: None,
                        ),
                    )
                except InterruptedError:
                    return "waited in vain"
                except PortionError:
                    return "given up"
                except LostError as lost:
                    return f"lost to {lost.winner.attempt}"
                except (OSError, UserError):
                    continue
                return "sealed"
            return "gave up"

        return run

    def follower(self, life: int) -> Program:
        def run(store: Store) -> str:
            place, board = RunStore(store=store, run="run"), StoreBoard(store, f"life-{life}")
            still = Still(
                place, board, index=1, writer=f"{life}-word", on_event=lambda *_args, **_fields: None, wait=wait_none(), poll_s=0.0
            )
            still._thread.join()
            still._looked = True
            still.submit(self._folders[life, 1], step=STEP)
            return "sent" if any(still._look() for _ in range(LOOKS)) else "not called"

        return run

    def newest(self, content: Content) -> int:
        """The life of what a reader accepts, 0 for nothing; no step claims to be sealed and is not."""
        place = RunStore(store=HeldStore(content, HONOURS["create"]), run="run")
        seen = survey([place])
        assert [problem for problem in seen.skipped if problem.code != "unsealed"] == [], "the manifest does not match its objects"
        if seen.found is None:
            return 0
        manifest = seen.found.manifest
        held = {file.path: content[file_key(place, manifest, file)] for file in manifest.files}
        assert held == self._files[manifest.attempt, 0] | self._files[manifest.attempt, 1], "not the portions of both machines of one life"
        return manifest.attempt


def explore(scene: Scene, content: Content, honours: str, *programs: Program, **options: Any) -> set[tuple[object, ...]]:
    ends: set[tuple[object, ...]] = set()
    known: dict[frozenset[tuple[str, bytes]], int] = {}

    def newest(content: Content) -> int:
        key = frozenset((key, value) for key, value in content.items() if key.startswith("run/"))
        if key not in known:
            known[key] = scene.newest(content)
        return known[key]

    def on_change(before: Content, after: Content, _who: int, _request: Request) -> None:
        was, now = newest(before), newest(after)
        assert now or not was, "what was sealed is not any more"

    def on_end(content: Content, results: tuple[object, ...]) -> None:
        ends.add(results)
        assert newest(content) or "sealed" not in results, "told to be sealed, and nothing is"

    explorer = Explorer(programs=programs, honours=HONOURS[honours], on_change=on_change, on_end=on_end, **options)
    explorer.walk(content)
    assert explorer.complete
    return ends


@pytest.mark.parametrize("honours", HONOURS)
def test_either_dies_anywhere(tmp_path: Path, sealed: Any, honours: str) -> None:
    scene = Scene(tmp_path, sealed)
    ends = explore(scene, {}, honours, scene.head(1), scene.follower(1))
    assert ends >= {("sealed", "sent"), (None, "sent"), ("waited in vain", None), ("waited in vain", "not called")}


def test_a_request_of_either_fails_anywhere(tmp_path: Path, sealed: Any) -> None:
    scene = Scene(tmp_path, sealed)
    ends = explore(scene, {}, "create", scene.head(1), scene.follower(1), kills=FULL, faults=2 if FULL else 1)
    assert ("sealed", "sent") in ends


@pytest.mark.parametrize("honours", HONOURS)
def test_a_zombie_head_and_what_the_next_life_seals(tmp_path: Path, sealed: Any, honours: str) -> None:
    """The first life's follower has sent all, and its head, about to seal, comes to itself beside both machines of the second life."""
    scene = Scene(tmp_path, sealed)
    store = HeldStore({}, HONOURS[honours])
    Others(StoreBoard(store, "life-1"), count=2).call(STEP)
    assert scene.follower(1)(store) == "sent"
    second = scene.follower(2) if FULL else _after_call(scene)
    ends = explore(scene, store.content, honours, scene.head(1), scene.head(2), second, kills=FULL)
    assert {results[:2] for results in ends} >= {("sealed", "waited in vain"), ("sealed", "lost to 1"), ("lost to 2", "sealed")}


def _after_call(scene: Scene) -> Program:
    """The second life's follower in one request: its own orders of them are looked at elsewhere."""
    ready = HeldStore({}, HONOURS["create"])
    Others(StoreBoard(ready, "life-2"), count=2).call(STEP)
    assert scene.follower(2)(ready) == "sent"
    said = {key: value for key, value in ready.content.items() if not key.endswith("/call")}

    def run(store: Store) -> str:
        for key, value in sorted(said.items(), key=lambda pair: pair[0].startswith("life-")):
            store.put_bytes(key, value)
        return "sent"

    return run
