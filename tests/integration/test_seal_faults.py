"""Random schedules of kills, stops and failing requests over a process that trains, seals, uploads, prunes and restores without end.

No sealed checkpoint is lost, no half one is accepted, and what is trained at the end is what an undisturbed run trains. Every sixth schedule goes over a
real S3 server, with a proxy before it that spoils requests; the others over a folder that does. A short set by default;
`SEAL_SCHEDULES=300 pytest tests/integration/test_seal_faults.py` for the long one, `SEAL_SCHEDULE=17` for one alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from fault_proxy import DAMAGE, FAULTS, chance, proxied
from faulty import FaultyStore
from object_servers import ObjectServer
from tenacity import wait_none, wait_random

from runtime.checkpoint import patience, retry
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.layout import MANIFEST, step_folder
from runtime.checkpoint.lease import Lease
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.restore import find_newest, restore_newest
from runtime.checkpoint.retention import Keep, prune
from runtime.checkpoint.sealing import new_staging, seal, sweep_staging
from runtime.checkpoint.store import Store
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import UserError

SCHEDULES = [int(os.environ["SEAL_SCHEDULE"])] if "SEAL_SCHEDULE" in os.environ else range(int(os.environ.get("SEAL_SCHEDULES", "11")))
LIVES = 5
FILES = ("model.safetensors", "optimizer.pt", "rng/rank-0.pt")


Files = Mapping[str, bytes]


def trained_on(files: Files) -> Files:
    """One more step: all that comes after depends on every byte that was there before."""
    state = hashlib.sha256(b"".join(files[name] for name in FILES)).hexdigest()
    return {name: random.Random(f"{state} {name}").randbytes(3000) for name in FILES}


@cache
def undisturbed(step: int) -> Files:
    """What the checkpoint of a step holds when nothing ever goes wrong."""
    files: Files = dict.fromkeys(FILES, b"")
    for _ in range(step):
        files = trained_on(files)
    return files


@dataclass(slots=True, kw_only=True)
class Life:
    """One process, and what it has said."""

    attempt: int
    pid: int
    pipe: int
    local: Path
    said: bytes = b""
    stopped: bool = False

    def hear(self) -> None:
        while True:
            try:
                more = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                return
            if not more:
                return
            self.said += more

    def newest(self) -> int:
        """The newest step that it was told to be sealed in the store."""
        return max((int(line.split()[1]) for line in self.said.split(b"\n")[:-1] if line.startswith(b"uploaded")), default=0)

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.hear()
        os.close(self.pipe)


@dataclass(frozen=True)
class Ground:
    """A store as it is, and as a process sees it whose requests fail at a rate and by a seed. Everything takes `pace` times as long there."""

    calm: Store
    spoilt: Callable[[float, int], Store]
    pace: float = 1.0
    settle: Callable[[], None] = lambda: None


@pytest.fixture
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Ground]]:
    """`ground(17)`: where schedule 17 stores its checkpoints."""

    def make(seed: int) -> Ground:
        if seed % 6 != 5:
            calm: Store = DirectoryStore(tmp_path / "store")
            return Ground(
                calm, lambda rate, dice: FaultyStore(DirectoryStore(tmp_path / "store"), seed=dice, rate=rate, conditional=seed % 3 != 0)
            )
        server: ObjectServer = request.getfixturevalue("object_server")("seaweedfs")
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        address, proxy = f"{server.address}/schedule-{seed}-{os.getpid()}", stack.enter_context(proxied(server.endpoint))

        def spoilt(rate: float, dice: int) -> Store:
            proxy.choose = chance(dice, rate, [*FAULTS.values(), *DAMAGE.values()])
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            return open_store(address)

        return Ground(open_store(address), spoilt, pace=6.0, settle=proxy.settle)

    with ExitStack() as stack:
        yield make


@pytest.mark.parametrize("seed", SCHEDULES)
def test_a_schedule(tmp_path: Path, ground: Callable[[int], Ground], seed: int) -> None:
    chance = random.Random(seed)
    where = ground(seed)
    place = RunStore(store=where.calm, run="run")
    newest = 0
    zombies: list[Life] = []
    local = tmp_path / "machine-0"
    try:
        for attempt in range(1, LIVES + 1):
            life = _begin(local, where.spoilt(chance.choice((0.0, 0.03, 0.1)), seed * 1000 + attempt), attempt)
            zombies.append(life)
            for _ in range(chance.randint(1, 3)):
                time.sleep(chance.uniform(0.01, 0.15) * where.pace)
                newest = _check(place, zombies, newest)
            if chance.random() < 0.3:
                os.kill(life.pid, signal.SIGSTOP)
                life.stopped = True
                local = tmp_path / f"machine-{attempt}"
            else:
                life.end()
                zombies.remove(life)
                newest = max(newest, life.newest())
                # Half of the time the run goes on on a new machine, where the store is all there is.
                local = local if chance.random() < 0.5 else tmp_path / f"machine-{attempt}"
            newest = _check(place, zombies, newest)
            for zombie in [zombie for zombie in zombies if zombie.stopped and chance.random() < 0.5]:
                os.kill(zombie.pid, signal.SIGCONT)
                zombie.stopped = False
    finally:
        for life in zombies:
            life.end()
    where.settle()
    newest = _check(place, [], newest)
    _finish(tmp_path / "last-machine" / "checkpoints", place, newest)


def _begin(local: Path, store: Store, attempt: int) -> Life:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            patience._WAIT = retry._WAIT = wait_none()
            _train(local / "checkpoints", RunStore(store=store, run="run"), attempt, writer)
        except BaseException as error:
            os.write(writer, f"ended {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
    os.close(writer)
    return Life(attempt=attempt, pid=child, pipe=reader, local=local)


def _train(checkpoints: Path, place: RunStore, attempt: int, pipe: int) -> None:
    """Restores, then trains and seals checkpoints without end."""
    lease = Lease(place, attempt=attempt, ttl_s=0.2)

    def tell(kind: str, step: int | None = None, **_fields: object) -> None:
        os.write(pipe, f"{kind} {step}\n".encode())

    uploader = Uploader(place, attempt=attempt, on_event=tell, lease=lease, wait=wait_random(0, 0.01))
    sweep_staging(checkpoints)
    step, files = _restored(checkpoints, place)
    tell("start", step)
    while uploader.fenced is None:
        step, files = step + 1, trained_on(files)
        folder = _seal(checkpoints, step, files, attempt)
        uploader.submit(folder, keep=Keep(last=2))
        prune(checkpoints, Keep(last=2), protected=uploader.protected, sealed=step)
        if step % 3 == 0:
            uploader.flush(0.05)
    tell("stops")


def _restored(checkpoints: Path, place: RunStore) -> tuple[int, Files]:
    while True:
        try:
            found = restore_newest([checkpoints, place], checkpoints).found
        except (OSError, UserError):
            continue
        if found is None:
            return 0, undisturbed(0)
        assert found.folder is not None
        return found.step, _read(found.folder)


def _read(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in FILES}


def _check(place: RunStore, lives: list[Life], newest: int) -> int:
    """The newest step that is sealed for certain. What is found is at least that, and is what an undisturbed run has there."""
    for life in lives:
        life.hear()
        newest = max(newest, life.newest())
    for _ in range(20):
        found = find_newest([place])
        if found is not None and found.step >= newest:
            break
        # Those that still live may have sealed and dropped a few more while this reader read.
    assert (0 if found is None else found.step) >= newest, f"step {newest} was sealed and is lost"
    if found is not None:
        expected = {name: digest_bytes(content) for name, content in undisturbed(found.step).items()}
        assert {file.path: (file.size, file.checksum) for file in found.manifest.files} == {
            name: (digest.size, digest.checksum) for name, digest in expected.items()
        }
    return newest


def _finish(checkpoints: Path, place: RunStore, newest: int) -> None:
    """After all of that, another machine goes on from the newest and ends with the weights of an undisturbed run."""
    step, files = _restored(checkpoints, place)
    if step:
        folder = checkpoints / step_folder(step)
        assert verify(folder, read_manifest(folder)) == ()
    assert step >= newest
    for _ in range(3):
        step, files = step + 1, trained_on(files)
    assert files == undisturbed(step)
    folder = _seal(checkpoints, step, files, LIVES + 1)
    uploader = Uploader(place, attempt=LIVES + 1, on_event=lambda *_args, **_fields: None, lease=Lease(place, attempt=LIVES + 1))
    uploader.submit(folder, keep=Keep(last=1))
    assert uploader.flush(60)
    assert uploader.close(60)
    found = find_newest([place])
    assert found is not None
    assert found.step == step
    # What dead and stopped writers left below it is gone, but for a manifest that came too late and what it names.
    below = {stat.key.split("/")[2] for stat in place.store.list("run/checkpoints/")} - {step_folder(step)}
    for folder_name in below:
        assert folder_name > step_folder(step) or place.store.stat(f"run/checkpoints/{folder_name}/{MANIFEST}") is not None


def _seal(checkpoints: Path, step: int, files: Files, attempt: int) -> Path:
    staging = new_staging(checkpoints)
    for name, content in files.items():
        (staging / name).parent.mkdir(exist_ok=True)
        (staging / name).write_bytes(content)
    folder = checkpoints / step_folder(step)
    seal(staging, folder, step=step, config_hash="abc", world_size=1, attempt=attempt)
    return folder
