"""Requests to a metadata service: plain HTTP to an address of this machine's own network, small answers, never through a proxy."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

LINK_LOCAL = "http://169.254.169.254"
"""Where Amazon, Google and Microsoft all answer (their documentation, 2024)."""

# Answers are a word or a short document; anything longer does not come from a metadata service.
_MAX_BYTES = 256 * 1024
_CLOCKS_AGREE_S = 3.0


class BusyError(OSError):
    """The service has no time for the question now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace").strip()

    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises OSError when it is none: what answered is not what was asked, or the answer was cut off."""
        try:
            found = json.loads(self.body)
        except ValueError as error:
            raise OSError(f"no JSON: {self.text[:60]!r}") from error
        if not isinstance(found, dict):
            raise OSError(f"no JSON object: {self.text[:60]!r}")
        return found

    def here(self, moment: float, now: float) -> float:
        """`moment`, which the service told, in Unix seconds of this machine's clock, which may be wrong by hours; `now` is what that shows."""
        try:
            sent = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return moment
        off = now - (sent if sent.tzinfo else sent.replace(tzinfo=UTC)).timestamp()
        # Told in whole seconds, and some time ago: less than that is no difference.
        return moment if abs(off) < _CLOCKS_AGREE_S else moment + off

    def considered(self) -> Answer:
        """Itself. Raises BusyError when it says no more than that it should be asked again."""
        if self.status == 429 or self.status >= 500:
            raise BusyError(f"answered {self.status}")
        return self

    def expect(self, *statuses: int) -> Answer:
        """Itself. Raises OSError when the status is none of `statuses`, BusyError among them."""
        if self.considered().status not in statuses:
            raise OSError(f"answered {self.status}")
        return self


class MetadataService:
    """The metadata service at `endpoint`, an `http://` address."""

    def __init__(self, endpoint: str = LINK_LOCAL) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{endpoint!r} is no http:// address")
        self._host, self._port, self._below = parts.hostname, parts.port or 80, parts.path.rstrip("/")

    def ask(self, path: str, headers: Mapping[str, str], *, timeout_s: float, method: str = "GET") -> Answer:
        """The answer, whatever its status. Raises OSError, TimeoutError among them, when none comes in `timeout_s` seconds."""
        end = time.monotonic() + timeout_s
        # http.client knows no proxies: a proxy would answer for its own machine.
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, self._below + path, headers=dict(headers))
            response = connection.getresponse()
            body = bytearray()
            while chunk := response.read1(65536):
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise OSError(f"answered with more than {_MAX_BYTES:,} bytes")
                if time.monotonic() > end:
                    raise TimeoutError("the answer comes too slowly")
            if response.length:
                raise OSError("the answer was cut off")
            return Answer(status=response.status, headers={name.lower(): value for name, value in response.getheaders()}, body=bytes(body))
        except http.client.HTTPException as error:
            raise OSError(f"no proper answer: {type(error).__name__}") from error
        finally:
            connection.close()
