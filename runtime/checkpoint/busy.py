"""A store that asks to be left alone for a while, and waits that grant it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState
from tenacity.wait import wait_base

# A proxy that asks for hours is wrong more often than right; after so long the store is asked again whatever it said.
LONGEST_PAUSE_S = 900.0
# IETF draft "RateLimit header fields for HTTP" as the Hugging Face Hub sends it: `"api";r=0;t=55`, requests left and seconds to more of them.
_USED_UP = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")


class BusyError(ConnectionError):
    """The store does not answer now, and wants not to be asked again for `pause_s` seconds."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


def unavailable(message: str, headers: Mapping[str, str]) -> ConnectionError:
    """What to raise for an answer that says no for now; `headers` are the answer's."""
    pause_s = asked_pause_s(headers)
    return BusyError(message, pause_s) if pause_s else ConnectionError(message)


def asked_pause_s(headers: Mapping[str, str]) -> float:
    """Seconds that `Retry-After` asks for, or those until a used-up `RateLimit` begins anew; 0 when neither does or can be read; never more than LONGEST_PAUSE_S.

    A moment is counted from the answer's own `Date`, so that this machine's clock does not matter.
    """
    lowered = {str(name).lower(): str(value) for name, value in headers.items()}
    text = lowered.get("retry-after", "").strip()
    if not text and (used_up := _USED_UP.search(lowered.get("ratelimit", ""))):
        text = used_up[1]
    try:
        seconds = float(text)
    except ValueError:
        until, now = _moment(text), _moment(lowered.get("date", ""))
        seconds = (until - (now or datetime.now(UTC))).total_seconds() if until else 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if math.isfinite(seconds) else 0.0


def pause_of(error: BaseException | None) -> float:
    """The seconds that the store asked for with `error`, 0 for none."""
    return error.pause_s if isinstance(error, BusyError) else 0.0


class AtLeastAsked(wait_base):
    """The wait `own`, or what the store asked for where that is longer."""

    def __init__(self, own: wait_base) -> None:
        self._own = own

    def __call__(self, retry_state: RetryCallState) -> float:
        """The seconds to wait before the next attempt."""
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        return max(self._own(retry_state), pause_of(error))


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
