"""Who writes a run: an object in its store by which a second writer of the same run is noticed, and the older one stops.

The lease keeps nobody from writing, since no store ties a write to it. That two writers cannot harm each other is the doing of the seal: objects
under a prefix of their own, the manifest last. The lease tells the one whose place has been taken that it has, before its next change.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.layout import LEASE
from runtime.checkpoint.owner import this_owner
from runtime.checkpoint.probe import LEFT_S
from runtime.checkpoint.store import Stat, get_bytes
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import Problem, UserError

TTL_S = 600.0
"""A lease that was not renewed for so long, by the store's clock, is nobody's: four renewals in a row were missed then."""
# Below the run: where those who ask for the store's time write something.
_MOMENTS = f"{LEASE}.now"
_MAX_BYTES = 1 << 14
_ROUNDS = 8
_READS = 3


class FencedError(Exception):
    """Another writer has taken this run over."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


class Holder(BaseModel):
    """What the lease object says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    attempt: int = Field(ge=0, description="Which life of the run writes; the higher one is the run's present.")
    writer: str = Field(description="The process that writes: machine, process id, start, and a word that no other process has.")
    term: int = Field(default=1, ge=1, description="Counts the holders; who finds a later term than its own has lost the run.")
    beat: int = Field(default=0, ge=0, description="Counts the renewals; when they happened, the store's own time of the object tells.")
    released: bool = Field(default=False, description="The writer has ended in good order.")

    def encode(self) -> bytes:
        """The object's content: a line that says it, and one with its checksum."""
        said = self.model_dump_json().encode()
        return b"%s\n%s\n" % (said, digest_bytes(said).checksum.encode())


def parse_holder(content: bytes) -> Holder | None:
    """What the content of a lease says; None when it is not, in every byte, what a holder has written."""
    try:
        holder = Holder.model_validate_json(content.partition(b"\n")[0])
    except ValidationError:
        return None
    return holder if holder.encode() == content else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    holder: Holder | None
    """None when the object cannot be understood."""
    stat: Stat


class Lease:
    """This process's hold on `place`.

    Who comes takes the lease over, and a term begins; who held it before is told at its next `hold` and stops for good. Only one who comes with a lower
    attempt than the holder's is the run's past and is refused, unless the holder let go or did not renew for `ttl_s` seconds: then the numbers of the
    attempts began anew. That is told by the store's clock alone; its present is the time it gives an object written just now.

    Where the store replaces conditionally, one of two that write at once is told and looks again. Elsewhere the later write stays, and the one that
    should have won writes again at its next `hold`; until then both believe to hold it, which the seal allows.

    What was seen is believed for `look_s` seconds: a checkpoint of thousands of files would else ask as often.
    """

    def __init__(
        self,
        place: RunStore,
        *,
        attempt: int,
        writer: str | None = None,
        ttl_s: float = TTL_S,
        look_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._attempt = attempt
        self._writer = writer or f"{this_owner()}-{secrets.token_hex(4)}"
        self._ttl_s = ttl_s
        self._look_s = look_s
        self._clock = clock
        self._key = place.key(LEASE)
        self._term: int | None = None
        self._written = 0.0
        self._seen_at: float | None = None
        self._fenced: FencedError | None = None
        self._lock = threading.Lock()

    @property
    def renew_s(self) -> float:
        """How often an idle writer calls `hold`, seconds."""
        return self._ttl_s / 5

    def hold(self) -> None:
        """Nothing, when this process may go on to change the run in the store: takes, keeps or renews the lease.

        Raises FencedError, and from then on always, when another writer has taken over; OSError and UserError from the store.
        """
        with self._lock:
            if self._fenced is not None:
                raise self._fenced
            if self._seen_at is not None and self._clock() - self._seen_at < self._look_s:
                return
            for _ in range(_ROUNDS):
                began = self._clock()
                seen = self._look()
                mine = self._own(seen)
                self._seen_at = began if mine is not None else None
                if mine is not None and self._term is not None and self._clock() - self._written < self.renew_s:
                    return
                wanted = self._claim(seen) if mine is None else mine.model_copy(update={"beat": mine.beat + 1})
                if self._write(wanted, seen):
                    return
            raise OSError(f"{self._place.store.url(self._key)} keeps changing: another writer is at work")

    def release(self) -> None:
        """Let go, so that nobody waits for the end of the lease. A store that fails now is no failure: the lease ends by itself."""
        with self._lock, suppress(OSError, UserError):
            seen = self._look() if self._term is not None and self._fenced is None else None
            if (mine := self._own(seen)) is not None and self._write(mine.model_copy(update={"released": True}), seen):
                self._sweep(self._place.store.stat(self._key))

    def _own(self, seen: _Seen | None) -> Holder | None:
        holder = None if seen is None else seen.holder
        return holder if holder is not None and holder.writer == self._writer else None

    def _claim(self, seen: _Seen | None) -> Holder:
        """What to write over what was seen. Raises FencedError when that is another's by right."""
        term = self._term or 1
        other = None if seen is None else seen.holder
        if seen is not None and other is not None:
            if self._is_taken(seen, other):
                self._fenced = FencedError(self._problem(other))
                raise self._fenced
            term = max(term, other.term + 1)
        return Holder(attempt=self._attempt, writer=self._writer, term=term)

    def _is_taken(self, seen: _Seen, other: Holder) -> bool:
        if self._term is None:
            return other.attempt > self._attempt and not other.released and not self._is_over(seen)
        # An earlier term can be there only where a holder of it wrote without having seen this one's.
        return (other.term, other.attempt) >= (self._term, self._attempt)

    def _is_over(self, seen: _Seen) -> bool:
        if seen.stat.modified is None:
            return False
        store = self._place.store
        key = self._place.key(f"{_MOMENTS}/{secrets.token_hex(8)}")
        try:
            store.put_bytes(key, b"now")
            now = store.stat(key)
            self._sweep(now)
        finally:
            with suppress(OSError, UserError):
                store.delete(key)
        return now is not None and now.modified is not None and now.modified - seen.stat.modified > self._ttl_s

    def _sweep(self, now: Stat | None) -> None:
        """Remove what processes have left that were killed while they asked for the store's time. `now` was written just now."""
        if now is None or now.modified is None:
            return
        store = self._place.store
        with suppress(OSError, UserError):
            for left in list(store.list(self._place.key(f"{_MOMENTS}/"))):
                # Not every list tells the times.
                found = left if left.modified is not None else store.stat(left.key)
                if found is not None and found.modified is not None and now.modified - found.modified > LEFT_S:
                    store.delete(left.key)

    def _look(self) -> _Seen | None:
        store = self._place.store
        # The version first: what is read after it may be newer, and then the write that names this version fails.
        stat = store.stat(self._key)
        if stat is None:
            return None
        holder: Holder | None = None
        # Damage on the way looks like damage at the store; one is read again, the other is written over.
        for _ in range(_READS):
            try:
                holder = parse_holder(get_bytes(store, self._key, limit=_MAX_BYTES))
            except FileNotFoundError:
                return None
            if holder is not None:
                break
        return _Seen(stat=stat, holder=holder)

    def _write(self, wanted: Holder, seen: _Seen | None) -> bool:
        """Whether it was written; False when another write came between."""
        store, can = self._place.store, self._place.store.capabilities
        began, before = self._clock(), self._term
        # Set first: a request that fails may have been done all the same, and others may have seen it.
        self._term = wanted.term
        try:
            if seen is None:
                store.put_bytes(self._key, wanted.encode(), create=can.conditional_put)
            else:
                version = seen.stat.version if can.conditional_replace else None
                store.put_bytes(self._key, wanted.encode(), replaces=version)
        except FileExistsError:
            self._term = before
            return False
        self._written = began
        return True

    def _problem(self, other: Holder) -> Problem:
        return Problem(
            code="fenced",
            message=f"attempt {other.attempt} (process {other.writer}) has taken this run over: this is attempt {self._attempt}, whose place has been taken",
            place=self._place.store.url(self._key),
            fix="stop this process; the other one goes on",
        )
