"""What a run does with a store, work by work: each can be done while requests fail, and says what must be there then."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from fault_proxy import FaultProxy

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

SMALL, BIG = random.Random(1).randbytes(30_000), random.Random(2).randbytes(PART_BYTES + 5)
WRITER = "1-aaaa"


@dataclass(frozen=True)
class Scene:
    """A store behind a proxy of faults, and a run in it."""

    store: Store
    calm: Store
    """The same without the proxy."""
    proxy: FaultProxy
    folder: Path
    """On this machine."""
    can: Capabilities
    """What the store must be found to honour."""
    address: str
    run: str = ""

    def key(self, relative: str) -> str:
        return f"{self.run}/{relative}"

    def own_run(self) -> Scene:
        """The same with a run that nobody has used."""
        return replace(self, run=f"run-{uuid4()}")

    def quiet(self) -> Scene:
        """The same without faults."""
        return replace(self, store=self.calm)

    @property
    def place(self) -> RunStore:
        return RunStore(store=self.store, run=self.run)

    def local(self, step: int) -> Path:
        """A sealed folder."""
        final = self.folder / "local" / step_folder(step)
        if not final.exists():
            staging = new_staging(final.parent)
            for name, content in _files(step).items():
                (staging / name).write_bytes(content)
            seal(staging, final, step=step, config_hash="abc", world_size=1, created=1.0)
        return final

    def holds(self, **objects: bytes) -> None:
        """The run has these objects and no other."""
        prefix = self.key("")
        assert {stat.key.removeprefix(prefix): stat.size for stat in self.store.list(prefix)} == {
            key: len(content) for key, content in objects.items()
        }
        for key, content in objects.items():
            assert b"".join(self.store.read(self.key(key))) == content


def _files(step: int) -> dict[str, bytes]:
    return {"model.safetensors": random.Random(step).randbytes(30_000), "frozen.bin": SMALL, "empty": b""}


@dataclass(frozen=True)
class Work:
    """Something that is done with a store: `prepare` and `check` while all is well, `do` while it is not. `do` may be done again."""

    do: Callable[[Scene], object]
    check: Callable[[Scene], None]
    requests: int
    """How many it makes, or more."""
    prepare: Callable[[Scene], object] = lambda _scene: None
    reads: bool = False
    """Whether it changes nothing."""
    sums: bool = False
    """Whether damage on the way is noticed here, and not by who asks for this."""
    tidy: bool = False
    """Whether it cleans up after itself as well as it can, and nobody will later: what is refused to it stays."""


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


def _folders(scene: Scene) -> None:
    assert list(scene.store.folders(scene.key(""))) == [f"{number}" for number in range(8)]


def _delete(scene: Scene) -> None:
    scene.store.delete(scene.key("a"))
    scene.store.delete(scene.key("never there"))
    scene.store.drop_unfinished(scene.key(""), lambda _key: True)


def _probe(scene: Scene) -> None:
    assert open_store(f"{scene.address}/{scene.run}").capabilities == scene.can


def _probe_is_gone(scene: Scene) -> None:
    assert list(open_store(f"{scene.address}/{scene.run}/.probe").list("")) == []


def _seal(scene: Scene) -> None:
    """Step 20, which has a file that step 10 has too."""
    earlier = scene.place.manifest(f"checkpoints/{step_folder(10)}")
    made = seal_in_store(scene.place, scene.local(20), writer=f"{WRITER}-20", earlier=earlier)
    assert made.same_content(read_manifest(scene.local(20)))


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


def _place(scene: Scene, step: int) -> None:
    """As sealed in the store."""
    folder = f"checkpoints/{step_folder(step)}"
    local = read_manifest(scene.local(step))
    named = tuple(file.model_copy(update={"key": f"{folder}/{WRITER}-{step}/{file.path}"}) for file in local.files)
    for file in named:
        scene.store.put_bytes(scene.key(str(file.key)), _files(step)[file.path])
    scene.store.put_bytes(scene.key(f"{folder}/{MANIFEST}"), local.model_copy(update={"files": named}).encode())


def _place_three(scene: Scene) -> None:
    """And what a dead attempt has left."""
    for step in (10, 20, 30):
        _place(scene, step)
    scene.store.put_bytes(scene.key(f"checkpoints/{step_folder(20)}/0-dead/model.safetensors"), b"left")


def _prune(scene: Scene) -> None:
    prune_stored(scene.place, Keep(last=1), attempt=1, writer=WRITER, sealed=30)


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
    _lease(scene).hold()


def _take_over(scene: Scene) -> None:
    """The zombie holds it, the successor takes it and keeps it, and the zombie is told."""
    zombie, successor = _lease(scene), _lease(scene, attempt=2)
    with suppress(FencedError):
        # Done again, it is one already.
        zombie.hold()
    successor.hold()
    assert not _goes_on(zombie)
    successor.hold()


def _goes_on(lease: Lease) -> bool:
    try:
        lease.hold()
    except FencedError:
        return False
    return True


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


def _eight_below(scene: Scene) -> None:
    for number in range(8):
        for name in ("x", "y"):
            scene.store.put_bytes(scene.key(f"{number}/{name}"), b"x")


WORKS = {
    "put a file": Work(lambda scene: _put(scene, SMALL), lambda scene: scene.holds(a=SMALL), requests=2),
    "put a big file": Work(lambda scene: _put(scene, BIG), lambda scene: scene.holds(a=BIG), requests=4),
    "copy a file": Work(
        lambda scene: _put(scene, SMALL, "b"),
        lambda scene: scene.holds(a=SMALL, b=SMALL),
        prepare=lambda scene: scene.store.put_bytes(scene.key("b"), SMALL),
        requests=3,
    ),
    "create": Work(_create, lambda scene: scene.holds(a=b"one"), requests=1),
    "replace": Work(
        _replace, lambda scene: scene.holds(a=b"another"), prepare=lambda scene: scene.store.put_bytes(scene.key("a"), b"x"), requests=2
    ),
    "get a file": Work(_get, lambda scene: scene.holds(a=BIG), prepare=lambda scene: _put(scene, BIG), reads=True, requests=3),
    "read a file": Work(_read, lambda scene: scene.holds(a=BIG), prepare=lambda scene: _put(scene, BIG), reads=True, requests=3),
    "list": Work(_list, _list, prepare=_eight, reads=True, requests=3),
    "delete": Work(_delete, lambda scene: scene.holds(), prepare=lambda scene: scene.store.put_bytes(scene.key("a"), b"x"), requests=2),
    "probe": Work(_probe, _probe_is_gone, tidy=True, requests=8),
    "seal": Work(_seal, lambda scene: _sealed(scene, 10, 20), prepare=lambda scene: _place(scene, 10), sums=True, requests=13),
    "restore": Work(_restore, lambda _scene: None, prepare=_place_three, reads=True, sums=True, requests=13),
    "prune": Work(_prune, lambda scene: _sealed(scene, 30), prepare=_place_three, sums=True, requests=20),
    "lease": Work(_hold, _is_released, sums=True, requests=10),
    "take over": Work(_take_over, _is_held_by_the_successor, sums=True, requests=13),
    "inherit": Work(_inherit, _is_held_by_the_successor, prepare=_held, tidy=True, requests=7),
    "folders": Work(_folders, _folders, prepare=_eight_below, reads=True, requests=3),
}
