"""Google's library could not get or renew the token that its requests carry."""

from __future__ import annotations

import re

from google.auth.exceptions import GoogleAuthError, TransportError

from runtime.checkpoint.refusal import clock_wrong, no_credentials
from runtime.config.storage import Address

# What services of tokens say of themselves when it is not the asker's fault: words of RFC 6749 (4.1.2.1), and Google's own writing of an HTTP status.
_THEIR_FAULT = re.compile(r'\b(?:server_error|temporarily_unavailable|internal_failure|INTERNAL|UNAVAILABLE)\b|"code":\s*(?:429|5\d\d)')
# A key signs with the time; one that seems to be of the future, or long past, is not taken.
_CLOCK = "reasonable timeframe"


def unanswered(error: GoogleAuthError, address: Address) -> Exception:
    """ConnectionError for what may pass: tokens are renewed every hour, of servers that restart too. Else UserError, which holds nothing secret."""
    said = _said(error)
    if _CLOCK in str(error):
        return clock_wrong(address, said)
    if _passes(error):
        return ConnectionError(f"{address.url()}: no token for now: {said}")
    return no_credentials(address, said)


def _said(error: BaseException) -> str:
    first = error.args[0] if error.args else ""
    return _said(first) if isinstance(first, BaseException) else next(iter(str(first).splitlines()), "") or type(error).__name__


def _passes(error: BaseException) -> bool:
    if isinstance(error, TransportError):
        # The server of tokens was not reached; what it has answered stands beside the message.
        status = next((int(answer.status) for answer in error.args if hasattr(answer, "status")), 0)
        return status == 0 or status == 429 or status >= 500
    if isinstance(error, GoogleAuthError) and error.retryable:
        return True
    inner = next((one for one in (*error.args, error.__cause__) if isinstance(one, BaseException)), None)
    return bool(_THEIR_FAULT.search(" ".join(str(one) for one in error.args))) or (inner is not None and _passes(inner))
