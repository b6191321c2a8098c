"""Google's notices: the metadata server, which holds an answer back until there is news.

Source: "Spot VMs", "About VM metadata" and "Query maintenance event", Google Compute Engine documentation, read 2024: 30 seconds, best effort.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlencode

from runtime.training.preemption.metadata import Answer, MetadataService
from runtime.training.preemption.source import Sign

_FLAVOR = {"Metadata-Flavor": "Google"}
_ROOT = "/computeMetadata/v1/instance/"
_LEAD_S = 30.0
_TIMEOUT_S = 2.0
# How long one question may hang. Planned maintenance is looked up in between, and an hour ahead is early enough.
_HANG_S = 20


class GcpSpot:
    """Preemption of Google's spot machines, and maintenance that ends machines with GPUs."""

    name = "gcp"
    pause_s = 0.5

    def __init__(self, service: MetadataService, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._etag: str | None = None
        self._maintenance = "NONE"

    def is_here(self, timeout_s: float) -> bool:
        """Whether the server answers with Google's own mark."""
        return self._service.ask(_ROOT, _FLAVOR, timeout_s=timeout_s).considered().headers.get("metadata-flavor") == "Google"

    def next_sign(self) -> Sign | None:
        """The preemption if there is one, waiting for it a while; before that, maintenance that ends the machine, once."""
        # What is only a hint may fail and not keep the notice from being asked for.
        with suppress(OSError):
            event = self._get("maintenance-event", timeout_s=_TIMEOUT_S).text
            before, self._maintenance = self._maintenance, event
            if event.startswith("TERMINATE") and not before.startswith("TERMINATE"):
                return Sign(kind="hint", reason="Google has planned maintenance that ends this machine, within the hour")
        answer = self._preempted()
        if answer.text != "TRUE":
            return None
        return Sign(kind="preempt", reason="Google takes this spot machine away", deadline_at=self._clock() + _LEAD_S)

    def _preempted(self) -> Answer:
        # The first question must not wait: what has happened already is no change.
        if self._etag is None:
            answer = self._get("preempted", timeout_s=_TIMEOUT_S)
        else:
            query = urlencode({"wait_for_change": "true", "timeout_sec": _HANG_S, "last_etag": self._etag})
            answer = self._get(f"preempted?{query}", timeout_s=_HANG_S + 5)
        self._etag = answer.headers.get("etag")
        return answer

    def _get(self, path: str, *, timeout_s: float) -> Answer:
        answer = self._service.ask(_ROOT + path, _FLAVOR, timeout_s=timeout_s).expect(200)
        if answer.headers.get("metadata-flavor") != "Google":
            raise OSError("the answer does not come from Google's metadata server")
        return answer
