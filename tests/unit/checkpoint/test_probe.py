"""What a probe leaves when its process is killed goes with a later probe, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from memory_service import Memory
from tenacity import wait_none

from runtime.checkpoint import retry
from runtime.checkpoint.bandwidth import Unlimited
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.probe import LEFT_S
from runtime.checkpoint.refusal import no_permission
from runtime.checkpoint.store import Capabilities


class Killed(BaseException):
    """The process is gone: no request comes after."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_WAIT", wait_none())


def found(service: Memory) -> Capabilities:
    return ObjectStore(service, Unlimited()).capabilities


def killed_at(point: int) -> Callable[[str], None]:
    requests = count()

    def on(_request: str) -> None:
        if next(requests) >= point:
            raise Killed

    return on


def deaths(*, sums: bool) -> Iterator[Memory]:
    """The service after a probe was killed before its first request, before its second, and so on."""
    for point in count():
        service = Memory(sums=sums)
        service.on = killed_at(point)
        try:
            found(service)
        except Killed:
            service.on = lambda _request: None
            yield service
        else:
            return


@pytest.mark.parametrize("sums", [True, False])
def test_whenever_it_is_killed_a_later_probe_removes_what_it_left(sums: bool) -> None:
    left = []
    for service in deaths(sums=sums):
        left.append(dict(service.objects))
        assert all(name.startswith("deep/.probe/") for name in service.objects)
        service.now += LEFT_S
        assert found(service).conditional_replace
        assert service.objects == left[-1], "it may be a living one's"
        service.now += 1
        assert found(service).conditional_replace
        assert service.objects == {}
    assert len(left) > 8
    assert max(len(objects) for objects in left) == (1 if sums else 2)


@pytest.mark.parametrize("request_refused", ["list", "delete"])
def test_who_may_not_list_or_delete_probes_all_the_same(request_refused: str) -> None:
    service = Memory()
    service.put("deep/.probe/0123456789abcdef-condition", b"1", create=False, replaces=None)
    service.now += 2 * LEFT_S

    def on(request: str) -> None:
        if request == request_refused:
            raise no_permission(service.address, "", "403")

    service.on = on
    assert found(service) == Capabilities(conditional_put=True, conditional_replace=True, checksums=True)
    assert "deep/.probe/0123456789abcdef-condition" in service.objects


def test_a_list_that_fails_for_now_fails_no_probe() -> None:
    service = Memory()

    def on(request: str) -> None:
        if request == "list":
            raise ConnectionResetError("reset")

    service.on = on
    assert found(service).conditional_put
    assert service.objects == {}


def test_what_is_no_probes_stays() -> None:
    """Whatever its age: somebody else's names, and where a store does not tell its time."""
    service = Memory()
    others = {
        "deep/.probe/notes.txt",
        "deep/.probe/deep/0123456789abcdef-condition",
        "deep/run/a",
        "other/.probe/0123456789abcdef-checksum",
    }
    for name in others:
        service.put(name, b"x", create=False, replaces=None)
    service.now += 2 * LEFT_S
    assert found(service).conditional_put
    assert service.objects.keys() == others
    timeless = "deep/.probe/0123456789abcdef-condition"
    service.objects[timeless] = (1, b"x")
    assert found(service).conditional_put
    assert service.objects.keys() == {*others, timeless}


def test_the_stores_clock_tells_and_not_a_leftovers_time() -> None:
    """One that seems to come from the future makes no other one old."""
    service = Memory()
    names = [f"deep/.probe/{number:016x}-condition" for number in range(2)]
    for name, ahead in zip(names, (0.0, 3 * LEFT_S), strict=True):
        service.put(name, b"x", create=False, replaces=None)
        service.times[name] += ahead
    assert found(service).conditional_put
    assert service.objects.keys() == set(names)
