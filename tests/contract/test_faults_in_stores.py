"""What networks, servers and accounts do to requests: each store's client survives it, notices it, or says what is wrong; training's random state stays.

`LONG_TESTS=1` looks at every fault in every store, else at every fault in one and a mixture in the others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from fault_proxy import DAMAGE, FAULTS, REFUSALS, STALL, Dialect, FaultProxy, always, answers, calm, chance, each_once, proxied
from object_servers import ObjectServer
from tenacity import wait_none

from runtime.checkpoint import patience, retry
from runtime.checkpoint.busy import pause_of
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES
from runtime.checkpoint.patience import patiently
from runtime.checkpoint.store import Store, digest_object
from runtime.config.problem import ExitCode, UserError

DIALECTS: dict[str, Dialect] = {"seaweedfs": "s3", "juicefs": "s3", "fakegcs": "gcs", "azurite": "azure"}
LONG = bool(os.environ.get("LONG_TESTS"))
CONTENT = random.Random(3).randbytes(200_000)


@dataclass(frozen=True)
class Behind:
    """A store behind a proxy."""

    store: Store
    proxy: FaultProxy
    dialect: Dialect


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retry, patience):
        monkeypatch.setattr(module, "_WAIT", wait_none())


@pytest.fixture(params=DIALECTS)
def behind(
    request: pytest.FixtureRequest, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Behind]:
    with _behind(request.param, object_server, monkeypatch) as made:
        yield made


@pytest.fixture
def s3(object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    with _behind("seaweedfs", object_server, monkeypatch) as made:
        yield made


def use(store: Store, folder: Path, *, size: int = len(CONTENT)) -> None:
    """Every method, and what it must answer."""
    content = CONTENT if size == len(CONTENT) else random.Random(size).randbytes(size)
    (folder / "source").write_bytes(content)
    can = store.capabilities
    # As an uploader does.
    assert patiently(lambda: store.put_file("run/file", folder / "source"), "") == digest_bytes(content)
    try:
        store.put_bytes("run/small", b"small", create=can.conditional_put)
    except FileExistsError:
        # An answer that was lost: the request, made again, meets its own first copy.
        assert b"".join(store.read("run/small")) == b"small"
    stat = store.stat("run/file")
    assert stat is not None
    assert stat.size == size
    assert [(found.key, found.size) for found in store.list("run/")] == [("run/file", size), ("run/small", 5)]
    assert list(store.folders("")) == ["run"]
    assert digest_object(store, "run/file") == digest_bytes(content)
    (folder / "target").unlink(missing_ok=True)
    assert store.get_file("run/file", folder / "target") == digest_bytes(content)
    assert store.stat("run/missing") is None
    store.delete("run/file")
    store.delete("run/small")
    assert list(store.list("run/")) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_not_felt(s3: Behind, tmp_path: Path, fault: str) -> None:
    s3.proxy.choose = each_once(FAULTS[fault])
    use(s3.store, tmp_path)


@pytest.mark.skipif(not LONG, reason="a minute; LONG_TESTS=1")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_not_felt_in_any_store(behind: Behind, tmp_path: Path, fault: str) -> None:
    behind.proxy.choose = each_once(FAULTS[fault])
    use(behind.store, tmp_path)
    # Not at each first time: not every server keeps an upload for who did not hear that it was complete, and then all of it is sent again.
    behind.proxy.choose = chance(8, 0.2, [FAULTS[fault]])
    use(behind.store, tmp_path, size=2 * PART_BYTES + 1)


def test_a_mixture_is_not_felt_and_does_not_move_the_random_state(behind: Behind, tmp_path: Path) -> None:
    random.seed(7)
    before = random.getstate()
    behind.proxy.choose = chance(5, 0.1, FAULTS.values())
    for _ in range(10 if LONG else 1):
        use(behind.store, tmp_path)
    use(behind.store, tmp_path, size=2 * PART_BYTES + 1)
    assert random.getstate() == before


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_on_the_way_is_noticed(behind: Behind, tmp_path: Path, damage: str) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    assert behind.store.capabilities is not None
    behind.proxy.choose = always(DAMAGE[damage])
    try:
        behind.store.put_file("run/file", tmp_path / "source")
        # A store that cannot tell took it for good: that is told by reading it, which is what a seal does then.
        arrived = digest_object(behind.store, "run/file")
    except (OSError, UserError):
        arrived = None
    assert arrived != digest_bytes(CONTENT)
    behind.proxy.choose = calm
    assert behind.store.put_file("run/file", tmp_path / "source") == digest_bytes(CONTENT)
    assert digest_object(behind.store, "run/file") == digest_bytes(CONTENT)


def test_what_needs_the_user_is_told_and_not_repeated(behind: Behind, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    assert behind.store.capabilities is not None
    for code, refusal in REFUSALS[behind.dialect].items():
        behind.proxy.choose = always(refusal)
        for request in (
            lambda: behind.store.put_bytes("run/a", b"x"),
            lambda: behind.store.put_file("run/a", tmp_path / "source"),
            lambda: list(behind.store.list("run/")),
        ):
            behind.proxy.asked.clear()
            with pytest.raises(UserError) as caught:
                request()
            assert ([problem.code for problem in caught.value.problems], caught.value.exit_code) == ([code], ExitCode.REMOTE_REFUSED)
            assert len(behind.proxy.asked) == 1


def test_a_pause_that_is_asked_for_is_kept(behind: Behind) -> None:
    assert behind.store.capabilities is not None
    behind.proxy.asked.clear()
    behind.proxy.choose = each_once(answers(429, "Throttling", headers=(("Retry-After", "0.3"),)))
    behind.store.delete("run/none")
    first, second = (request.at for request in behind.proxy.asked)
    assert second - first >= 0.3


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_pause_is_left_to_who_can_wait_for_it(behind: Behind, status: int) -> None:
    behind.store.put_bytes("run/a", b"x")
    behind.proxy.asked.clear()
    behind.proxy.choose = always(answers(status, "SlowDown", headers=(("Retry-After", "120"),)))
    with pytest.raises(ConnectionError) as caught:
        behind.store.put_bytes("run/a", b"y")
    assert pause_of(caught.value) == 120.0
    assert len(behind.proxy.asked) == 1


def test_a_stall_ends(object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from runtime.checkpoint import s3

    monkeypatch.setattr(s3, "READ_S", 0.2)
    with _behind("seaweedfs", object_server, monkeypatch) as made:
        made.proxy.choose = each_once(STALL)
        made.store.put_bytes("run/a", b"x")
        made.proxy.choose = always(STALL)
        with pytest.raises(ConnectionError, match="timeout"):
            made.store.stat("run/a")


@contextmanager
def _behind(kind: str, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    server = object_server(kind)
    with proxied(server.endpoint) as proxy:
        for name, value in proxy.variables(server.variables).items():
            monkeypatch.setenv(name, value)
        yield Behind(open_store(f"{server.address}/{uuid4()}"), proxy, DIALECTS[kind])
