"""Two writers of one run: the newer one wins, the older one is told at its next look, and nobody is kept out by a lease that nobody holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interleaving import Content, Explorer, HeldStore, Program, Request

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.lease import FencedError, Holder, Lease, parse_holder
from runtime.checkpoint.store import Capabilities, Store, get_bytes
from runtime.checkpoint.stored import RunStore

HONOURS = {
    "all": Capabilities(conditional_put=True, conditional_replace=True),
    "create": Capabilities(conditional_put=True),
    "nothing": Capabilities(conditional_put=False),
}
KEY = "run/lease.json"


@pytest.fixture
def place(tmp_path: Path) -> RunStore:
    return RunStore(store=DirectoryStore(tmp_path / "store"), run="run")


def lease(place: RunStore, attempt: int, **options: Any) -> Lease:
    return Lease(place, attempt=attempt, clock=lambda: 0.0, **options)


def holder(place: RunStore) -> Holder:
    found = parse_holder(get_bytes(place.store, KEY, limit=10_000))
    assert found is not None
    return found


def age(place: RunStore, seconds: float) -> None:
    """The store's clock goes on by so much."""
    path = place.store.root / KEY  # type: ignore[attr-defined]
    modified = path.stat().st_mtime - seconds
    os.utime(path, (modified, modified))


def test_the_newer_attempt_takes_over_and_the_older_one_is_told(place: RunStore) -> None:
    old, new = lease(place, 1, writer="old"), lease(place, 2, writer="new")
    old.hold()
    new.hold()
    with pytest.raises(FencedError, match=r"attempt 2 \(process new\) has taken this run over: this is attempt 1") as told:
        old.hold()
    assert (told.value.problem.code, told.value.problem.place) == ("fenced", place.store.url(KEY))
    new.hold()
    assert holder(place).writer == "new"


def test_once_told_always_told(place: RunStore) -> None:
    old, new = lease(place, 1), lease(place, 2)
    old.hold()
    new.hold()
    with pytest.raises(FencedError):
        old.hold()
    new.release()
    place.store.delete(KEY)
    with pytest.raises(FencedError):
        old.hold()


def test_of_equal_attempts_the_later_one_wins(place: RunStore) -> None:
    first, second = lease(place, 1), lease(place, 1)
    first.hold()
    second.hold()
    second.hold()
    with pytest.raises(FencedError):
        first.hold()


def test_a_lower_attempt_is_refused_while_the_higher_one_lives(place: RunStore) -> None:
    lease(place, 3).hold()
    age(place, 500)
    with pytest.raises(FencedError, match="attempt 3"):
        lease(place, 1).hold()
    assert holder(place).attempt == 3


@pytest.mark.parametrize("ending", ["released", "expired"])
def test_a_lower_attempt_begins_anew_when_nobody_holds_it(place: RunStore, ending: str) -> None:
    past = lease(place, 3)
    past.hold()
    if ending == "released":
        past.release()
    else:
        age(place, 601)
    begun = lease(place, 1)
    begun.hold()
    assert (holder(place).attempt, holder(place).term) == (1, 2)
    if ending == "expired":
        with pytest.raises(FencedError):
            past.hold()
    assert {stat.key for stat in place.store.list("run/")} == {KEY}


def test_a_zombie_does_not_come_back_when_its_successor_has_ended(place: RunStore) -> None:
    old, new = lease(place, 1), lease(place, 2)
    old.hold()
    new.hold()
    new.release()
    with pytest.raises(FencedError):
        old.hold()


def test_it_is_renewed_when_a_fifth_of_its_life_is_over(place: RunStore) -> None:
    now = 0.0
    held = Lease(place, attempt=1, ttl_s=100.0, clock=lambda: now)
    beats = []
    for moment in (0.0, 19.0, 21.0, 40.0, 42.0):
        now = moment
        held.hold()
        beats.append(holder(place).beat)
    assert beats == [0, 0, 1, 1, 2]


def test_what_was_seen_is_believed_for_a_moment_and_no_longer(place: RunStore) -> None:
    now, looks = 0.0, []
    held = Lease(place, attempt=1, ttl_s=100.0, look_s=1.0, clock=lambda: now)
    look = place.store.stat
    place.store.stat = lambda key: looks.append(now) or look(key)  # type: ignore[method-assign, func-returns-value]
    for moment in (0.0, 0.1, 0.9, 1.2, 2.0):
        now = moment
        held.hold()
    assert looks == [0.0, 0.1, 1.2]
    lease(place, 2).hold()
    looks.clear()
    held.hold()
    now = 2.3
    with pytest.raises(FencedError):
        held.hold()


def test_a_lost_or_unreadable_lease_is_written_again(place: RunStore) -> None:
    held = lease(place, 2)
    held.hold()
    place.store.delete(KEY)
    held.hold()
    assert holder(place).attempt == 2
    place.store.put_bytes(KEY, b'{"attempt": "x"}')
    held.hold()
    assert holder(place).attempt == 2


def test_a_lease_says_what_was_written_or_nothing() -> None:
    said = Holder(attempt=3, writer="host-1-2-abcd", term=4, beat=5)
    content = said.encode()
    assert parse_holder(content) == said
    for place in range(len(content)):
        for bit in (1, 64):
            assert parse_holder(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]) is None
    for end in range(len(content)):
        assert parse_holder(content[:end]) is None
    assert parse_holder(content + b"\n") is None


def test_a_lease_that_is_read_wrong_is_read_again(place: RunStore) -> None:
    held, successor = lease(place, 1), lease(place, 2)
    held.hold()
    successor.hold()
    real, reads = place.store.read, []

    def read(key: str) -> Iterator[bytes]:
        reads.append(key)
        content = b"".join(real(key))
        yield content.replace(b"-", b",") if len(reads) < 3 else content

    place.store.read = read  # type: ignore[method-assign]
    successor.hold()
    assert len(reads) == 3
    reads.clear()
    with pytest.raises(FencedError):
        held.hold()


def test_without_the_time_of_objects_a_lease_that_was_not_released_stays() -> None:
    place = RunStore(store=HeldStore({}, HONOURS["all"]), run="run")
    lease(place, 3).hold()
    with pytest.raises(FencedError):
        lease(place, 1).hold()


def process(attempt: int, name: str, *, times: int) -> Program:
    def run(store: Store) -> str:
        place, now = RunStore(store=store, run="run"), iter(range(0, 10_000_000, 1000))
        held = Lease(place, attempt=attempt, writer=name, clock=lambda: float(next(now)))
        done, failures = 0, 0
        while done < times:
            try:
                held.hold()
                done += 1
            except FencedError:
                return "fenced"
            except OSError:
                failures += 1
                assert failures < 5
        return "held"

    return run


@pytest.mark.parametrize("attempts", [(1, 2), (2, 2)])
@pytest.mark.parametrize("honours", HONOURS)
def test_in_every_order_one_at_most_goes_on(honours: str, attempts: tuple[int, int]) -> None:
    """Each holds three times and renews at each, with deaths and a failing request anywhere. Whoever looks once more: one holds, by right."""
    ends: set[tuple[object, ...]] = set()

    def on_end(content: Content, results: tuple[object, ...]) -> None:
        ends.add(results)
        assert results != ("fenced", "fenced"), "nobody goes on"
        assert attempts != (1, 2) or results[1] != "fenced", "the newer attempt lost to the older one"
        store = HeldStore(content, HONOURS[honours])
        third = process(3, "c", times=2)(store)
        assert third == "held"

    def on_change(_before: Content, _after: Content, _who: int, _request: Request) -> None: ...

    explorer = Explorer(
        programs=[process(attempts[0], "a", times=2), process(attempts[1], "b", times=2)],
        honours=HONOURS[honours],
        on_change=on_change,
        on_end=on_end,
        faults=1,
    )
    explorer.walk({})
    assert explorer.complete
    assert ("fenced", "held") in ends


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["hold", "hold", "hold", "release"])), max_size=40),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_one_after_another_there_is_one_holder_and_it_is_the_latest_by_right(turns: list[tuple[int, str]], attempts: list[int]) -> None:
    place = RunStore(store=HeldStore({}, HONOURS["all"]), run="run")
    leases = [Lease(place, attempt=attempt, writer=str(number), clock=lambda: 0.0) for number, attempt in enumerate(attempts)]
    fenced: set[int] = set()
    for number, turn in turns:
        if turn == "release":
            leases[number].release()
            continue
        before = holder(place) if place.store.stat(KEY) else None
        try:
            leases[number].hold()
        except FencedError:
            fenced.add(number)
            assert before is None or holder(place) == before
        else:
            assert number not in fenced
            now = holder(place)
            assert now.writer == str(number)
            assert before is None or before.released or now.writer == before.writer or now.attempt >= before.attempt
