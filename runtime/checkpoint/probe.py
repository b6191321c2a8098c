"""What an object service honours, found by trying it on small objects that go again: the names of servers tell nothing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from runtime.checkpoint.refusal import is_plain_refusal
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import Service
from runtime.checkpoint.store import Capabilities
from runtime.config.problem import UserError

LEFT_S = 86_400.0
"""A small object that a process writes to find something out, and that is older, by the store's own clock, was left by one that was killed. The few
requests that a living one makes before it removes its own take minutes at worst."""
_NAME = re.compile(r"[0-9a-f]{16}-(condition|checksum)")


def probe(service: Service, folder: str) -> Capabilities:
    """What the service honours; the objects that tell are made below `folder` and removed, with those that killed probes have left there.

    Raises as every request does; not for what is left, which the next probe looks at again.
    """
    mark = secrets.token_hex(8)
    name, wrong = f"{folder}/{mark}-condition", f"{folder}/{mark}-checksum"
    try:
        # The name is new, so a first write that is refused was sent twice by the library: the second met the first, which is an answer too.
        creates = (
            _try(lambda: service.put(name, b"1", create=True, replaces=None)) != "error"
            and _try(lambda: service.put(name, b"22", create=True, replaces=None)) == "refused"
        )
        found = Capabilities(
            conditional_put=creates,
            conditional_replace=creates and _replaces(service, name),
            checksums=again(lambda: service.refuses_wrong_checksum(wrong)),
        )
        _sweep(service, folder, {name, wrong})
        return found
    finally:
        for made in (name, wrong):
            with suppress(OSError, UserError):
                again(lambda made=made: service.delete(made))  # type: ignore[misc]


def _replaces(service: Service, name: str) -> bool:
    first = again(lambda: service.head(name))
    if first is None or first.version is None:
        return False
    if _try(lambda: service.put(name, b"333", create=False, replaces=first.version)) == "error":
        return False
    # One that was refused may have been done before, and only its answer lost: the object tells.
    second = again(lambda: service.head(name))
    return (
        second is not None
        and second.size == 3
        and _try(lambda: service.put(name, b"4444", create=False, replaces=first.version)) == "refused"
    )


def _sweep(service: Service, folder: str, own: set[str]) -> None:
    """Remove the objects of probes that were killed. The own ones, written a moment ago, tell the store's present.

    Who may not list, or not delete, leaves them to who may.
    """
    with suppress(OSError, UserError):
        written = {head.name: head.modified for head in service.list(f"{folder}/") if head.modified is not None}
        present = max((written[name] for name in own & written.keys()), default=0.0)
        for name, modified in written.items():
            if present - modified > LEFT_S and _NAME.fullmatch(name.removeprefix(f"{folder}/")):
                again(lambda name=name: service.delete(name))  # type: ignore[misc]


def _try(put: Callable[[], None]) -> Literal["done", "refused", "error"]:
    try:
        again(put)
    except FileExistsError:
        return "refused"
    except UserError as error:
        # Some servers answer a condition they do not know with an error, which is as good as ignoring it.
        if not is_plain_refusal(error):
            raise
        return "error"
    return "done"
