"""Processes of one run as threads of this one: they meet where torch's would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime.training.processes import Rank


class Meeting:
    """Ranks that are threads: what one gathers, all have given."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.given: list[Any] = [None] * count
        self.barrier = threading.Barrier(count, timeout=20)

    def rank(self, index: int, local: int) -> Rank:
        meeting = self

        class Threaded(Rank):
            __slots__ = ()

            def barrier(self) -> None:
                self.gather(None)

            def share(self, value: Any) -> Any:
                return self.gather(value)[0]

            def gather(self, value: Any) -> list[Any]:
                meeting.given[index] = value
                meeting.barrier.wait()
                given = list(meeting.given)
                meeting.barrier.wait()
                return given

        return Threaded(index=index, local=local, world_size=self.count)

    def run(self, work: Callable[[Rank], Any], locals_: list[int]) -> list[Any]:
        with ThreadPoolExecutor(self.count) as pool:
            futures = [pool.submit(work, self.rank(index, local)) for index, local in enumerate(locals_)]
            return [future.exception() or future.result() for future in futures]
