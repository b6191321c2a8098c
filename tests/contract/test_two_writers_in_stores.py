"""Two writers of one run over each real store: one of them goes on, whoever was first sealed stays, and what can be read is whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from object_servers import ObjectServer

from runtime.checkpoint.layout import step_folder
from runtime.checkpoint.lease import FencedError, Lease
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.storing import LostError, seal_in_store

KINDS = ("directory", "seaweedfs", "juicefs", "fakegcs", "azurite")


@pytest.fixture(params=KINDS)
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], RunStore]:
    """The same run, as another process opens it."""
    address = str(tmp_path / "store")
    if request.param != "directory":
        server = object_server(request.param)
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        address = f"{server.address}/{uuid4()}"
    return lambda: RunStore(store=open_store(address), run="run")


def at_once(works: Sequence[Callable[[], None]]) -> None:
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], None]) -> None:
        gate.wait()
        work()

    threads = [threading.Thread(target=begin, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def goes_on(lease: Lease) -> bool:
    try:
        lease.hold()
    except FencedError:
        return False
    return True


def test_the_successor_goes_on_and_the_zombie_is_told(reopen: Callable[[], RunStore]) -> None:
    zombie, successor = Lease(reopen(), attempt=1), Lease(reopen(), attempt=2)
    zombie.hold()
    zombie.hold()
    successor.hold()
    with pytest.raises(FencedError, match=r"attempt 2 .* has taken this run over: this is attempt 1"):
        zombie.hold()
    successor.hold()
    with pytest.raises(FencedError):
        Lease(reopen(), attempt=1).hold()
    successor.release()
    assert goes_on(Lease(reopen(), attempt=1)), "nobody holds it any more"


def test_of_many_at_once_one_goes_on(reopen: Callable[[], RunStore]) -> None:
    places = [reopen() for _ in range(4)]
    # Each has probed the store before, as a process has when it comes to its first upload.
    assert len({place.store.capabilities for place in places}) == 1
    leases = [Lease(place, attempt=attempt) for attempt, place in enumerate((*places, *places), 1)]
    at_once([lambda lease=lease: goes_on(lease) and None for lease in leases])  # type: ignore[misc]
    # Where writes cannot be conditional, two may believe to hold it until each has looked again.
    for _ in range(2):
        left = [lease for lease in leases if goes_on(lease)]
    assert len(left) == 1


def test_of_two_that_seal_one_step_one_stays(reopen: Callable[[], RunStore], tmp_path: Path) -> None:
    places = [reopen(), reopen()]
    conditional = places[0].store.capabilities.conditional_put and places[1].store.capabilities.conditional_put
    folders = []
    for who in (1, 2):
        staging = new_staging(tmp_path / str(who))
        (staging / "model.safetensors").write_bytes(f"{who}".encode() * 100_000)
        folders.append(tmp_path / str(who) / step_folder(10))
        seal(staging, folders[-1], step=10, config_hash="abc", world_size=1, attempt=who)
    ends: dict[int, str] = {}

    def write(who: int) -> None:
        try:
            seal_in_store(places[who], folders[who], writer=f"{who + 1}-{'ab'[who] * 8}")
            ends[who] = "sealed"
        except LostError:
            ends[who] = "lost"

    at_once([lambda: write(0), lambda: write(1)])
    manifest = reopen().manifest(f"checkpoints/{step_folder(10)}")
    assert verify_stored(reopen(), manifest) == ()
    assert ends[manifest.attempt - 1] == "sealed"
    if conditional:
        assert sorted(ends.values()) == ["lost", "sealed"]
