"""Who may not write hears it before training, and no token is ever told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.publish.hub.access import ready_to_write
from runtime.publish.hub.asking import redacted

pytestmark = pytest.mark.train

Make = Callable[..., Any]


def refusal(repository: Any, **settings: Any) -> Any:
    """The one problem of a refusal."""
    with pytest.raises(UserError) as caught:
        ready_to_write(repository, **settings)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    (problem,) = caught.value.problems
    assert problem.fix
    return problem


def test_a_name_without_owner_is_ones_own(online: Any, repository: Make) -> None:
    assert ready_to_write(repository(id="mine")).id == "tester/mine"
    assert online.server.repos["models/tester/mine"].private


def test_no_token(repository: Make) -> None:
    problem = refusal(repository(token=None))
    assert (problem.code, problem.path) == ("credentials", "hub_model_id")
    assert "HF_TOKEN" in problem.fix


def test_a_token_that_is_not_valid(repository: Make) -> None:
    assert refusal(repository(token="hf_wrongwrongwrong")).code == "credentials"


def test_a_token_that_may_only_read(online: Any, repository: Make) -> None:
    online.server.role = "read"
    assert "may only read" in refusal(repository()).message


def test_a_repository_of_others(online: Any, repository: Make) -> None:
    online.server.put("models/other/model", {"a": b"b"}, private=True)
    online.server.role, online.server.may_write = "fineGrained", False
    assert refusal(repository(id="other/model")).code == "credentials"


def test_a_public_repository_is_not_written_to_unless_told(online: Any, repository: Make) -> None:
    online.server.put("models/tester/model", {"a": b"b"}, private=False)
    assert "public" in refusal(repository()).message
    assert ready_to_write(repository(private=False)).id == "tester/model"


def test_a_public_one_is_made_when_told(online: Any, repository: Make) -> None:
    ready_to_write(repository(private=False))
    assert not online.server.repos["models/tester/model"].private


def test_an_endpoint_that_cannot_tell_who_may_write(online: Any, repository: Make) -> None:
    online.server.put("models/tester/model", {"a": b"b"}, private=True)
    online.server.writes_checked = False
    assert ready_to_write(repository()).id == "tester/model"


def test_asking_who_we_are_too_often_is_no_reason(online: Any, hub_module: Any, repository: Make) -> None:
    online.server.order("whoami", 429)
    assert ready_to_write(repository()).id == "tester/model"


def test_nobody_listens(repository: Make) -> None:
    assert refusal(repository(endpoint="http://127.0.0.1:9"), patience_s=0.0).code == "unreachable"


def test_told_to_stay_offline(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(repository()).fix


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
def test_no_token_in_what_is_said(
    online: Any, hub_module: Any, repository: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    caplog.set_level(logging.INFO)
    online.server.order("POST /api/repos/create", *[hub_module.Answer(status, {"X-Error-Message": f"not with {online.server.token}"})] * 9)
    with pytest.raises(UserError) as caught:
        ready_to_write(repository(), patience_s=0.0)
    shown = "".join(traceback.format_exception(caught.value)) + repr(repository()) + caplog.text + "".join(capfd.readouterr())
    assert online.server.token not in shown
    assert "***" in str(caught.value)


def test_addresses_lose_what_signs_them() -> None:
    text = redacted("503 for url 'https://store/x?X-Amz-Signature=abc&b=c' with hf_abcdefgh and s3cr3t", "s3cr3t")
    assert text == "503 for url 'https://store/x' with *** and ***"
