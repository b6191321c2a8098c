"""Each request that a run makes of Google Cloud Storage and Azure Blob goes wrong once, in each way there is: the work ends as if nothing had happened.

What only its checksum tells, and what only the user can mend, may end it with an error that says so; made again, it ends well then. `LONG_TESTS=1` looks
at every request in every way (a quarter of an hour), else at one of each work.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from fault_proxy import DAMAGE, FAULTS, REFUSALS, SHORT, Fault, Only, Request, answers, calm, proxied
from object_servers import ObjectServer
from store_works import BIG, WORKS, Scene, Work
from tenacity import wait_none

from runtime.checkpoint import patience, retry
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.store import Capabilities, Store, digest_object
from runtime.config.problem import UserError

LONG = bool(os.environ.get("LONG_TESTS"))
KINDS = ("fakegcs", "azurite")
CAN = {
    "fakegcs": Capabilities(conditional_put=True, conditional_replace=True, checksums=True),
    "azurite": Capabilities(conditional_put=True, conditional_replace=True),
}
UNFELT = {
    "answer lost": FAULTS["reset late"],
    "request lost": FAULTS["reset"],
    "done and 500": FAULTS["500 late"],
    "503": answers(503, "ServerBusy", headers=(("Retry-After", "0.01"),)),
    "429": FAULTS["429"],
    "answer cut off": FAULTS["cut answer"],
    "answer short": SHORT,
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retry, patience):
        monkeypatch.setattr(module, "_WAIT", wait_none())


@pytest.fixture(scope="module", params=KINDS)
def opened(
    request: pytest.FixtureRequest, object_server: Callable[[str], ObjectServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    kind, server = request.param, object_server(request.param)
    address = f"{server.address}/{uuid4()}"
    with proxied(server.endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        stores = []
        for variables in (server.variables, proxy.variables(server.variables)):
            for name, value in variables.items():
                patch.setenv(name, value)
            stores.append(open_store(address))
            assert stores[-1].capabilities == CAN[kind]
        _page_by_three(stores[-1], patch, kind)
        if kind == "fakegcs":
            # A big file goes in three pieces.
            patch.setattr("runtime.checkpoint.gcs._CHUNK_BYTES", 4 << 20)
        yield Scene(stores[1], stores[0], proxy, tmp_path_factory.mktemp(kind), CAN[kind], address)


@pytest.fixture
def scene(opened: Scene, tmp_path: Path) -> Scene:
    return replace(opened, folder=tmp_path)


def _page_by_three(store: Store, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Lists come in pages of thousands; nobody waits for so many objects."""
    service = store._service  # type: ignore[attr-defined]
    client, option = (service._client, "page_size") if kind == "fakegcs" else (service._container, "results_per_page")
    for method in ("list_blobs",) if kind == "fakegcs" else ("list_blobs", "walk_blobs"):
        monkeypatch.setattr(client, method, functools.partial(getattr(client, method), **{option: 3}))


def failures(
    scene: Scene, work: Work, walk: Iterable[tuple[int, str, Fault]], *, may_raise: type[Exception] | None = None
) -> Iterator[str]:
    """What went wrong when `work` was done with a fault in the one request that has the number; up to the first that it does not make.

    With `may_raise` it may end with that, or have no effect; done again, it must end well.
    """
    shared = scene.own_run()
    if work.reads:
        work.prepare(shared.quiet())
    for at, name, fault in walk:
        here = shared if work.reads else scene.own_run()
        if not work.reads:
            work.prepare(here.quiet())
        scene.proxy.choose = broken = Only(at, fault)
        try:
            if may_raise is None:
                work.do(here)
            else:
                with suppress(may_raise):
                    work.do(here)
                scene.proxy.choose = calm
                work.do(here)
            scene.proxy.settle()
            assert LONG or broken.hit is not None
            work.check(here.quiet())
        except Exception as error:
            # All are told together.
            yield f"{name} at request {at} ({broken.hit}): {type(error).__name__}: {error}"
        if broken.hit is None:
            return


def walks(work: str, faults: Mapping[str, Fault]) -> Iterator[Iterable[tuple[int, str, Fault]]]:
    """Every fault in every request of `work`; else one in one."""
    if LONG:
        yield from ([(at, name, fault) for at in range(500)] for name, fault in faults.items())
        return
    number = list(WORKS).index(work)
    yield [(number % WORKS[work].requests, *list(faults.items())[number % len(faults)])]


def each(names: Iterable[str]) -> pytest.MarkDecorator:
    """These works in each store; each in one of them where there is no time for more."""
    listed = list(names)
    pairs = [(kind, name) for where, kind in enumerate(KINDS) for name in listed if LONG or (where + list(WORKS).index(name)) % 2]
    return pytest.mark.parametrize(("opened", "name"), pairs, indirect=["opened"])


@each(WORKS)
def test_one_request_that_fails_is_not_felt(scene: Scene, name: str) -> None:
    # Google's emulator takes the question what has arrived of an upload for its end.
    may_raise = ConnectionError if (scene.address.partition(":")[0], name) == ("gs", "put a big file") else None
    assert [line for walk in walks(name, UNFELT) for line in failures(scene, WORKS[name], walk, may_raise=may_raise)] == []


@each(name for name, work in WORKS.items() if (work.sums if LONG else name in ("seal", "restore")))
def test_one_request_that_is_damaged_costs_one_more_attempt(scene: Scene, name: str) -> None:
    assert [line for walk in walks(name, DAMAGE) for line in failures(scene, WORKS[name], walk, may_raise=Exception)] == []


@each(name for name, work in WORKS.items() if (not work.tidy if LONG else name in ("put a big file", "prune")))
def test_one_request_that_is_refused_is_told_and_can_be_made_again(scene: Scene, name: str) -> None:
    codes = REFUSALS["gcs" if scene.address.startswith("gs:") else "azure"]
    faults = {code: refusal for code, refusal in codes.items() if code != "missing-bucket"}
    assert [line for walk in walks(name, faults) for line in failures(scene, WORKS[name], walk, may_raise=UserError)] == []


@pytest.mark.parametrize(("status", "last"), [(status, last) for status in (404, 410) for last in range(3)] if LONG else [(410, 1)])
def test_a_session_that_ends_midway_is_begun_anew(
    object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, last: int
) -> None:
    """Google Cloud Storage forgets sessions, after a week or before."""
    monkeypatch.setattr("runtime.checkpoint.gcs._CHUNK_BYTES", 4 << 20)
    server = object_server("fakegcs")
    (tmp_path / "source").write_bytes(BIG)
    pieces: list[str] = []

    def choose(request: Request) -> Fault | None:
        if request.method != "PUT" or (pieces and request.path != pieces[0]):
            return None
        pieces.append(request.path)
        return answers(status) if len(pieces) > last else None

    with proxied(server.endpoint) as proxy:
        for name, value in proxy.variables(server.variables).items():
            monkeypatch.setenv(name, value)
        store = open_store(f"{server.address}/{uuid4()}")
        assert store.capabilities is not None
        proxy.choose = choose
        with pytest.raises(ConnectionError, match="called off"):
            store.put_file("run/a", tmp_path / "source")
        assert store.put_file("run/a", tmp_path / "source") == digest_bytes(BIG)
        assert len(pieces) == last + 1
        assert digest_object(store, "run/a") == digest_bytes(BIG)
