"""Each request that a run makes of Google Cloud Storage and Azure Blob goes wrong once, in each way there is: the work ends as if nothing had happened.

What only its checksum tells, and what only the user can mend, may end it with an error that says so; made again, it ends well then. `LONG_TESTS=1` looks
at every request in every way, else at some in each.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest
from fault_proxy import DAMAGE, FAULTS, REFUSALS, SHORT, Dialect, Fault, FaultProxy, Only, answers, calm, proxied
from object_servers import ObjectServer
from tenacity import wait_none

from runtime.checkpoint import patience, retry
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.layout import LEASE, MANIFEST, step_folder
from runtime.checkpoint.lease import FencedError, Lease, parse_holder
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES
from runtime.checkpoint.restore import restore_newest
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.store import Capabilities, Store
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.storing import seal_in_store
from runtime.config.problem import UserError

LONG = bool(os.environ.get("LONG_TESTS"))
KINDS: dict[str, Dialect] = {"fakegcs": "gcs", "azurite": "azure"}
CAN = {
    "fakegcs": Capabilities(conditional_put=True, conditional_replace=True, checksums=True),
    "azurite": Capabilities(conditional_put=True, conditional_replace=True),
}
SMALL, BIG = random.Random(1).randbytes(30_000), random.Random(2).randbytes(PART_BYTES + 5)
UNFELT = {
    "answer lost": FAULTS["reset late"],
    "request lost": FAULTS["reset"],
    "done and 500": FAULTS["500 late"],
    "503": answers(503, "ServerBusy", headers=(("Retry-After", "0.01"),)),
    "429": FAULTS["429"],
    "answer cut off": FAULTS["cut answer"],
    "answer short": SHORT,
}


@dataclass(frozen=True)
class Scene:
    """A store behind a proxy, where a run of its own is for each walk."""

    store: Store
    proxy: FaultProxy
    folder: Path
    kind: str
    address: str
    run: str = ""
    zombies: list[Lease] = field(default_factory=list)

    def key(self, relative: str) -> str:
        return f"{self.run}/{relative}"

    @property
    def place(self) -> RunStore:
        return RunStore(store=self.store, run=self.run)

    def local(self, step: int, attempt: int = 1) -> Path:
        """A sealed folder."""
        final = self.folder / f"local-{attempt}" / step_folder(step)
        if not final.exists():
            staging = new_staging(final.parent)
            for name, content in files(step).items():
                (staging / name).write_bytes(content)
            seal(staging, final, step=step, config_hash="abc", world_size=1, created=1.0, attempt=attempt)
        return final

    def holds(self, **files: bytes) -> None:
        """The run has these objects and no other."""
        prefix = self.key("")
        assert {stat.key.removeprefix(prefix): stat.size for stat in self.store.list(prefix)} == {
            key: len(content) for key, content in files.items()
        }
        for key, content in files.items():
            assert b"".join(self.store.read(self.key(key))) == content


def files(step: int) -> dict[str, bytes]:
    return {"model.safetensors": random.Random(step).randbytes(30_000), "frozen.bin": SMALL, "empty": b""}


@dataclass(frozen=True)
class Work:
    """Something that is done with a store: `prepare` and `check` while all is well, `do` while it is not. `do` may be done again."""

    do: Callable[[Scene], object]
    check: Callable[[Scene], None]
    prepare: Callable[[Scene], object] = lambda _scene: None
    costly: bool = False
    sums: bool = True
    """Whether damage on the way is noticed here, and not by who has asked for this."""


def _put(scene: Scene, content: bytes, origin: str | None = None) -> None:
    source = scene.folder / f"source-{len(content)}"
    if not source.exists():
        source.write_bytes(content)
    digest = scene.store.put_file(scene.key("a"), source, origin=origin and scene.key(origin))
    assert digest == digest_bytes(content)


def _get(scene: Scene) -> None:
    target = scene.folder / "target"
    target.unlink(missing_ok=True)
    assert scene.store.get_file(scene.key("a"), target) == digest_bytes(BIG)
    assert target.read_bytes() == BIG


def _read(scene: Scene) -> None:
    assert b"".join(scene.store.read(scene.key("a"))) == BIG


def _create(scene: Scene) -> None:
    # Who is refused looks at what is there: it may be the own write, answered too late.
    with suppress(FileExistsError):
        scene.store.put_bytes(scene.key("a"), b"one", create=True)


def _replace(scene: Scene) -> None:
    stat = scene.store.stat(scene.key("a"))
    assert stat is not None
    assert stat.version is not None
    with suppress(FileExistsError):
        scene.store.put_bytes(scene.key("a"), b"another", replaces=stat.version)


def _list(scene: Scene) -> None:
    assert [stat.key for stat in scene.store.list(scene.key(""))] == [scene.key(f"{number}") for number in range(8)]


def _delete(scene: Scene) -> None:
    scene.store.delete(scene.key("a"))
    scene.store.delete(scene.key("never there"))
    scene.store.drop_unfinished(scene.key(""), lambda _key: True)


def _probe(scene: Scene) -> None:
    assert open_store(f"{scene.address}/{scene.run}").capabilities == CAN[scene.kind]


def _probe_is_gone(scene: Scene) -> None:
    assert list(open_store(f"{scene.address}/{scene.run}/.probe").list("")) == []


def _seal(scene: Scene, step: int = 20) -> None:
    earlier = scene.place.manifest(f"checkpoints/{step_folder(10)}") if step > 10 else None
    made = seal_in_store(scene.place, scene.local(step), writer="1-aaaa", earlier=earlier)
    assert made.same_content(read_manifest(scene.local(step)))


def _sealed(scene: Scene, *steps: int) -> None:
    """These steps are whole, and nothing else is there."""
    assert scene.place.steps() == dict.fromkeys(steps, True)
    named: set[str] = set()
    for step in steps:
        manifest = scene.place.manifest(f"checkpoints/{step_folder(step)}")
        assert manifest.same_content(read_manifest(scene.local(step)))
        assert verify_stored(scene.place, manifest, deep=True) == ()
        named |= {f"checkpoints/{step_folder(step)}/{MANIFEST}", *(str(file.key) for file in manifest.files)}
    assert {stat.key.removeprefix(scene.key("")) for stat in scene.store.list(scene.key("checkpoints/"))} == named


def _three_steps(scene: Scene) -> None:
    for step in (10, 20, 30):
        _seal(scene, step)
    # What a dead attempt left.
    scene.store.put_bytes(scene.key(f"checkpoints/{step_folder(20)}/0-dead/model.safetensors"), b"left")


def _prune(scene: Scene) -> None:
    prune_stored(scene.place, Keep(last=1), attempt=1, writer="1-", sealed=30)


def _restore(scene: Scene) -> None:
    machine = scene.folder / f"machine-{uuid4()}"
    survey = restore_newest([scene.place], machine)
    assert survey.found is not None
    assert (survey.found.step, survey.skipped) == (30, ())
    restored = machine / step_folder(30)
    assert verify(restored, read_manifest(restored)) == ()


def _lease(scene: Scene, *, attempt: int = 1) -> Lease:
    times = iter(range(0, 100_000, 200))
    return Lease(scene.place, attempt=attempt, writer=f"writer-{attempt}", clock=lambda: float(next(times)))


def _hold(scene: Scene) -> None:
    """Taken, renewed, and given back."""
    lease = _lease(scene)
    lease.hold()
    lease.hold()
    lease.release()


def _is_released(scene: Scene) -> None:
    (stat,) = scene.store.list(scene.key(""))
    holder = parse_holder(b"".join(scene.store.read(stat.key)))
    assert stat.key == scene.key(LEASE)
    assert holder is not None
    assert (holder.writer, holder.released, holder.term) == ("writer-1", True, 1)


def _held(scene: Scene) -> None:
    scene.zombies.append(_lease(scene))
    scene.zombies[0].hold()


def _take_over(scene: Scene) -> None:
    """The successor takes it and keeps it, and the zombie is told."""
    successor = _lease(scene, attempt=2)
    successor.hold()
    with pytest.raises(FencedError):
        scene.zombies[0].hold()
    successor.hold()


def _inherit(scene: Scene) -> None:
    """The holder is of a higher attempt, and has not renewed it for too long."""
    Lease(scene.place, attempt=0, writer="writer-2", ttl_s=-10.0).hold()


def _is_held_by_the_successor(scene: Scene) -> None:
    (stat,) = scene.store.list(scene.key(""))
    holder = parse_holder(b"".join(scene.store.read(stat.key)))
    assert holder is not None
    assert (holder.writer, holder.released) == ("writer-2", False)


def _eight(scene: Scene) -> None:
    for number in range(8):
        scene.store.put_bytes(scene.key(f"{number}"), b"x")


WORKS = {
    "put a file": Work(lambda scene: _put(scene, SMALL), lambda scene: scene.holds(a=SMALL), sums=False),
    "put a big file": Work(lambda scene: _put(scene, BIG), lambda scene: scene.holds(a=BIG), costly=True, sums=False),
    "copy a file": Work(
        lambda scene: _put(scene, SMALL, "b"),
        lambda scene: scene.holds(a=SMALL, b=SMALL),
        prepare=lambda scene: scene.store.put_bytes(scene.key("b"), SMALL),
        sums=False,
    ),
    "create": Work(_create, lambda scene: scene.holds(a=b"one"), sums=False),
    "replace": Work(
        _replace, lambda scene: scene.holds(a=b"another"), prepare=lambda scene: scene.store.put_bytes(scene.key("a"), b"x"), sums=False
    ),
    "get a file": Work(_get, lambda scene: scene.holds(a=BIG), prepare=lambda scene: _put(scene, BIG), costly=True, sums=False),
    "read a file": Work(_read, lambda scene: scene.holds(a=BIG), prepare=lambda scene: _put(scene, BIG), costly=True, sums=False),
    "list": Work(_list, _list, prepare=_eight, sums=False),
    "delete": Work(_delete, lambda scene: scene.holds(), prepare=lambda scene: scene.store.put_bytes(scene.key("a"), b"x")),
    "probe": Work(_probe, _probe_is_gone, sums=False),
    "seal": Work(_seal, lambda scene: _sealed(scene, 10, 20), prepare=lambda scene: _seal(scene, 10)),
    "restore": Work(_restore, lambda scene: None, prepare=_three_steps),
    "prune": Work(_prune, lambda scene: _sealed(scene, 30), prepare=_three_steps),
    "lease": Work(_hold, _is_released),
    "take over": Work(_take_over, _is_held_by_the_successor, prepare=_held),
    "inherit": Work(_inherit, _is_held_by_the_successor, prepare=_held),
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retry, patience):
        monkeypatch.setattr(module, "_WAIT", wait_none())


@pytest.fixture(params=KINDS)
def scene(
    request: pytest.FixtureRequest, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Scene]:
    server = object_server(request.param)
    with proxied(server.endpoint) as proxy:
        for name, value in proxy.variables(server.variables).items():
            monkeypatch.setenv(name, value)
        address = f"{server.address}/{uuid4()}"
        store = open_store(address)
        assert store.capabilities == CAN[request.param]
        _page_by_three(store, monkeypatch, request.param)
        yield Scene(store, proxy, tmp_path, request.param, address)


def _page_by_three(store: Store, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Lists come in pages of thousands; nobody waits for so many objects."""
    service = store._service  # type: ignore[attr-defined]
    client, option = (service._client, "page_size") if kind == "fakegcs" else (service._container, "results_per_page")
    monkeypatch.setattr(client, "list_blobs", functools.partial(client.list_blobs, **{option: 3}))


@dataclass(frozen=True)
class Walk:
    """`work`, as often as it makes requests, with `fault` in another one each time; what may be raised then, after which it is done again."""

    work: str
    fault: Fault
    may_raise: tuple[type[Exception], ...] = ()

    def failures(self, scene: Scene, numbers: Iterator[int]) -> Iterator[str]:
        work = WORKS[self.work]
        for at in numbers:
            here = replace(scene, run=f"run-{uuid4()}", zombies=[])
            scene.proxy.choose = calm
            work.prepare(here)
            scene.proxy.choose = broken = Only(at, self.fault)
            try:
                try:
                    work.do(here)
                except self.may_raise:
                    scene.proxy.choose = calm
                    work.do(here)
                scene.proxy.choose = calm
                scene.proxy.settle()
                work.check(here)
            except Exception as error:  # noqa: BLE001  all of them are told at the end
                yield f"{self.work}, request {at} ({broken.hit}): {type(error).__name__}: {error}"
            if broken.hit is None:
                return


def some(first: int, step: int) -> Iterator[int]:
    return itertools.count() if LONG else itertools.count(first, step)


@pytest.mark.parametrize("fault", UNFELT)
def test_one_request_that_fails_is_not_felt(scene: Scene, fault: str) -> None:
    where = list(UNFELT).index(fault)
    failed = [
        line
        for number, name in enumerate(WORKS)
        if LONG or not WORKS[name].costly
        for line in Walk(name, UNFELT[fault]).failures(scene, some((where + number) % 7, 7))
    ]
    assert failed == []
