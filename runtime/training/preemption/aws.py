"""Amazon's notices: the instance metadata service, version 2.

Source: "Spot Instance interruption notices" and "Use IMDSv2", Amazon EC2 user guide, read 2024: two minutes ahead, to be asked for every five seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from runtime.training.preemption.metadata import Answer, MetadataService
from runtime.training.preemption.source import CannotHearError, Sign

_TOKEN_TTL_S = 21600
_RENEW_BEFORE_S = 60.0
_TIMEOUT_S = 2.0
_LEAD_S = 120.0
# One word: anything else, a page to log in on say, could not even be sent back.
_TOKEN = re.compile(r"[!-~]+")
_ACTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class AwsSpot:
    """Interruption notices of Amazon's spot machines, and its earlier recommendation to move away."""

    name = "aws"
    pause_s = 5.0

    def __init__(self, service: MetadataService, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._token: str | None = None
        self._renew_at = 0.0
        self._hinted: str | None = None

    def is_here(self, timeout_s: float) -> bool:
        """Whether a session token of the service is to be had, or the service answers without one."""
        try:
            self._take_token(timeout_s)
        except TimeoutError:
            # In a container behind a bridge the token does not arrive, as its packet may make one hop only; other answers do.
            answer = self._service.ask("/latest/meta-data/", {}, timeout_s=timeout_s)
            if answer.status == 401:
                raise CannotHearError(
                    "Amazon's metadata service hands out no token in here: give the container the host's network, or the machine a hop limit of 2 "
                    "(aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2)"
                ) from None
            if answer.status != 200 or "instance-id" not in answer.text.split():
                return False
            self._token, self._renew_at = "", float("inf")
        return self._token is not None

    def next_sign(self) -> Sign | None:
        """The interruption if one is announced; else the recommendation to move, once."""
        action = self._get(_ACTION).expect(200, 404)
        if action.status == 200:
            return self._interruption(action)
        rebalance = self._get(_REBALANCE).expect(200, 404)
        if rebalance.status == 404:
            return None
        noticed = str(rebalance.document().get("noticeTime", ""))
        if noticed == self._hinted:
            return None
        self._hinted = noticed
        return Sign(kind="hint", reason="Amazon expects to take this machine away and recommends to move")

    def _interruption(self, answer: Answer) -> Sign:
        document = answer.document()
        action = document.get("action")
        if action not in ("terminate", "stop", "hibernate"):
            raise OSError(f"announced the unknown action {action!r}")
        # A hibernation begins with its notice.
        told, now = _unix(document.get("time")), self._clock()
        deadline = answer.here(told, now) if told is not None else now + (0.0 if action == "hibernate" else _LEAD_S)
        return Sign(kind="preempt", reason=f"Amazon takes this spot machine away ({action})", deadline_at=deadline)

    def _get(self, path: str) -> Answer:
        if self._token is None or self._clock() >= self._renew_at:
            self._take_token(_TIMEOUT_S)
        answer = self._service.ask(path, self._headers(), timeout_s=_TIMEOUT_S)
        if answer.status == 401:
            # The token has ended early: the machine was stopped in between, or its clock was set.
            self._take_token(_TIMEOUT_S)
            answer = self._service.ask(path, self._headers(), timeout_s=_TIMEOUT_S)
        return answer

    def _headers(self) -> dict[str, str]:
        return {"X-aws-ec2-metadata-token": self._token} if self._token else {}

    def _take_token(self, timeout_s: float) -> None:
        answer = self._service.ask(
            "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}, timeout_s=timeout_s, method="PUT"
        )
        token = answer.expect(200).text
        if not _TOKEN.fullmatch(token):
            raise OSError("what answers is no metadata service: it hands out something else than a token")
        self._token = token
        self._renew_at = self._clock() + _TOKEN_TTL_S - _RENEW_BEFORE_S


def _unix(text: object) -> float | None:
    """`2017-09-18T08:22:00Z` in Unix seconds; None for anything else, which must not hide the notice itself."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
