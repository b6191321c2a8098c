"""Waiting for what is still being sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from runtime.checkpoint.manifest import read_manifest
from runtime.checkpoint.transit import EVERY_S, sentence
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import UserError

# So many times what there is to send may leave before it counts as getting nowhere.
_TIMES = 3


def wait_sent(
    uploader: Uploader,
    *,
    patience_s: float,
    say: Callable[[str], None],
    while_moving: bool,
    every_s: float = EVERY_S,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Whether everything submitted is in the store, waiting at most `patience_s` seconds for it.

    With `while_moving`, those are counted from when something last left: a large model on a slow line takes its time. `say` is told every `every_s` seconds.
    """
    total, before, began = _bytes_unsent(uploader), uploader.moved_bytes, clock()
    moved, until = 0, began + patience_s
    while not uploader.flush(max(0.0, min(every_s, until - clock()))):
        if not uploader.protected:
            return False
        now = uploader.moved_bytes - before
        if while_moving and moved < now <= _TIMES * total:
            until = clock() + patience_s
        moved = now
        if clock() >= until:
            return False
        say(f"sending: {sentence(min(moved, total), total, clock() - began)}")
    return True


def _bytes_unsent(uploader: Uploader) -> int:
    total = 0
    for folder in uploader.protected:
        with suppress(UserError):
            total += read_manifest(folder).total_bytes
    return total
