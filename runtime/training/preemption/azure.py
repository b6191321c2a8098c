"""Microsoft's notices: scheduled events of the instance metadata service.

Source: "Azure Metadata Service: Scheduled Events for Linux VMs", Microsoft Learn, read 2024: at least 30 seconds ahead of a preemption, to be asked
for every second; the first question may take two minutes. An event is not acknowledged: that would only bring the end forward.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from runtime.training.preemption.metadata import Answer, MetadataService
from runtime.training.preemption.source import Sign

_MARK = {"Metadata": "true"}
_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_COMPUTE = "/metadata/instance/compute?api-version=2021-02-01&format=json"
_TIMEOUT_S = 5.0
_FIRST_TIMEOUT_S = 150.0
_LEAD_S = 30.0
_ENDS = frozenset({"Preempt", "Terminate"})
_ENDS_TRAINING = frozenset({"Reboot", "Redeploy"})


class AzureSpot:
    """Preemption of Microsoft's spot machines, and other scheduled ends of a machine."""

    name = "azure"
    pause_s = 1.0

    def __init__(self, service: MetadataService, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._machine: str | None = None
        self._enabled = False
        self._hinted: set[str] = set()

    def is_here(self, timeout_s: float) -> bool:
        """Whether the service describes a machine of Azure."""
        answer = self._service.ask(_COMPUTE, _MARK, timeout_s=timeout_s).considered()
        if answer.status != 200:
            return False
        try:
            compute = answer.document()
        except OSError:
            return False
        self._machine = str(compute.get("name") or "") or None
        return "vmId" in compute or "azEnvironment" in compute

    def next_sign(self) -> Sign | None:
        """The end of this machine if one is scheduled; else, once, a restart or a move that ends what runs on it."""
        if self._machine is None:
            with suppress(OSError):
                self.is_here(_TIMEOUT_S)
        answer = self._service.ask(_EVENTS, _MARK, timeout_s=_TIMEOUT_S if self._enabled else _FIRST_TIMEOUT_S).expect(200)
        listed = answer.document().get("Events", [])
        self._enabled = True
        events = [event for event in listed if isinstance(event, dict) and self._concerns_us(event)] if isinstance(listed, list) else []
        ends = [event for event in events if _kind(event) in _ENDS]
        if ends:
            deadline, kind = min((self._not_before(event, answer), _kind(event)) for event in ends)
            return Sign(kind="preempt", reason=f"Microsoft takes this machine away ({kind})", deadline_at=deadline)
        for event in events:
            identity = str(event.get("EventId"))
            if _kind(event) in _ENDS_TRAINING and identity not in self._hinted:
                self._hinted.add(identity)
                return Sign(kind="hint", reason=f"Microsoft has scheduled a {_kind(event).lower()} of this machine")
        return None

    def _concerns_us(self, event: dict[str, Any]) -> bool:
        # Machines of one scale set or availability set hear of each other's events too.
        named = event.get("Resources")
        if self._machine is None or not isinstance(named, list) or not named:
            return True
        # Names of resources are the same in capital and small letters.
        return self._machine.casefold() in {str(name).casefold() for name in named}

    def _not_before(self, event: dict[str, Any], answer: Answer) -> float:
        """When it may happen, Unix seconds by this machine's clock. An event that has started says nothing there: it happens now."""
        if event.get("EventStatus") == "Started":
            return self._clock()
        text = str(event.get("NotBefore") or "")
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                return self._clock() + _LEAD_S
        return answer.here((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), self._clock())


def _kind(event: dict[str, Any]) -> str:
    return str(event.get("EventType"))
