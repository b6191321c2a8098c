"""Azure without keys: each identity at its own kind of server, whose tokens a store asks for, and what is said when there is none."""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from entra import AUDIENCE, CLIENT, HEADER, OTHER_TENANT, SECRET, TENANT, Entra, entra, refusal

from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.opening import open_store
from runtime.config.problem import ExitCode, UserError
from runtime.config.storage import SECRETS

pytest.importorskip("azure.storage.blob")
pytest.importorskip("azure.identity")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """Nothing of this machine's own identities is asked: no tool is on the path, and the machine's endpoint is one where nobody listens."""
    for name in {*SECRETS["az"], *(name for name in os.environ if name.startswith("AZURE_") or name.lower().endswith("_proxy"))}:
        monkeypatch.delenv(name, raising=False)
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with entra(tmp_path) as running, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.certificate))
        yield running


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    def install(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return install


def opened(server: Entra) -> ObjectStore:
    store = open_store(f"az://models/p?endpoint={server.authority}/account")
    assert isinstance(store, ObjectStore)
    return store


def asked(server: Entra) -> None:
    assert opened(server)._service.head("p/x") is None


def refused(ask: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(UserError) as caught:
        ask()
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    (problem,) = caught.value.problems
    for hidden in ("canary", SECRET, CLIENT, "login.microsoft", "aka.ms"):
        assert hidden not in repr(problem)
    return problem.code, problem.message, problem.fix or ""


def test_a_service_principal_gets_in_and_its_token_is_renewed(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal())
    service = opened(server)._service
    for _ in range(3):
        assert service.head("p/x") is None
    assert len(server.issued) == 1
    assert server.used == server.issued * 3

    # A token that is about to end is not used to its end: the store takes the newest alone.
    server.lasts_s = 60
    service = opened(server)._service
    for _ in range(3):
        assert service.head("p/x") is None
    assert len(server.issued) == 4
    assert server.used[3:] == server.issued[1:]


def test_renewing_draws_no_number_of_the_training(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal())
    service = opened(server)._service
    random.seed(7)
    before = random.getstate()
    assert service.head("p/x") is None
    assert random.getstate() == before


def test_a_workload_identity_hands_in_its_file(server: Entra, env: Callable[[dict[str, str]], None], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("federated")
    held = server.principal(AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "token"))
    env({name: value for name, value in held.items() if name != "AZURE_CLIENT_SECRET"})
    asked(server)
    assert server.asked == [CLIENT]


@pytest.mark.parametrize(("place", "client"), [("vm", ""), ("vm", CLIENT), ("app", ""), ("app", CLIENT), ("arc", "")])
def test_a_managed_identity_is_asked_where_the_machine_says(
    server: Entra, env: Callable[[dict[str, str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, client: str
) -> None:
    import msal.managed_identity

    places = {
        "vm": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.machine},
        "app": {"IDENTITY_ENDPOINT": f"{server.machine}/app/token", "IDENTITY_HEADER": HEADER},
        "arc": {"IDENTITY_ENDPOINT": f"{server.machine}/arc/token", "IMDS_ENDPOINT": server.machine},
    }
    server.arc_key = tmp_path / "challenge.key"
    # The folder of Arc's agent is a system's own.
    monkeypatch.setitem(msal.managed_identity._supported_arc_platforms_and_their_prefixes, sys.platform, str(tmp_path))
    env(places[place] | ({"AZURE_CLIENT_ID": client} if client else {}))
    asked(server)
    assert server.asked[-1] == client
    assert server.used == server.issued


def az(tmp_path: Path, script: str) -> None:
    path = tmp_path / "tools" / "az"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_who_has_logged_in_gets_in(server: Entra, tmp_path: Path) -> None:
    token = server.token()
    az(
        tmp_path,
        f'case "$*" in "account get-access-token --output json --resource {AUDIENCE}") '
        f'echo \'{{"accessToken": "{token}", "expires_on": 4102444800, "tokenType": "Bearer"}}\';; *) exit 9;; esac',
    )
    asked(server)
    assert server.used == [token]


def test_who_has_not_is_told_what_there_could_be(server: Entra, tmp_path: Path) -> None:
    az(tmp_path, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    code, message, fix = refused(lambda: asked(server))
    assert code == "credentials"
    assert "AZURE_CLIENT_SECRET are not all set; no managed identity answers; `az` is not installed, not logged in" in message
    assert "AZURE_STORAGE_KEY" in fix
    assert "`az login`" in fix


def test_a_login_that_has_ended_is_told(server: Entra, tmp_path: Path) -> None:
    az(tmp_path, "echo 'ERROR: AADSTS700082: The refresh token has expired. Trace ID: canary-trace' >&2; exit 1")
    code, message, fix = refused(lambda: asked(server))
    assert code == "credentials"
    assert "`az login`: its login has ended (AADSTS700082)" in message
    assert fix == "log in again: az login"


@pytest.mark.parametrize(
    ("changed", "said", "mended"),
    [
        ({"AZURE_TENANT_ID": "00000000-dead"}, "there is no such tenant (AADSTS90002)", "AZURE_TENANT_ID"),
        ({"AZURE_CLIENT_ID": "canary-app"}, "no such application (AADSTS700016)", "AZURE_CLIENT_ID and AZURE_TENANT_ID"),
        ({"AZURE_CLIENT_SECRET": "canary-wrong"}, "its secret is wrong (AADSTS7000215)", "AZURE_CLIENT_SECRET"),
        ({"AZURE_TENANT_ID": "a b"}, "cannot be used (ValueError)", "AZURE_TENANT_ID"),
        ({"AZURE_AUTHORITY_HOST": "http://canary"}, "cannot be used (ValueError)", "AZURE_AUTHORITY_HOST"),
        ({"AZURE_TOKEN_CREDENTIALS": "nobody"}, "cannot be used (ValueError)", "AZURE_TOKEN_CREDENTIALS"),
        ({"AZURE_TOKEN_CREDENTIALS": "AzureCliCredential"}, "`az` is not installed", "az login"),
    ],
)
def test_what_is_wrong_with_a_service_principal_is_told(
    server: Entra, env: Callable[[dict[str, str]], None], caplog: pytest.LogCaptureFixture, changed: dict[str, str], said: str, mended: str
) -> None:
    env(server.principal(**changed))
    with caplog.at_level(logging.INFO):
        code, message, fix = refused(lambda: asked(server))
    assert code == "credentials"
    assert said in message
    assert mended in fix
    assert "canary" not in caplog.text


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize("kind", ["principal", "machine"])
def test_an_outage_of_tokens_passes(
    server: Entra, env: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    from runtime.checkpoint import azure_login

    monkeypatch.setattr(azure_login, "_REPEATS", 0)
    env(server.principal() if kind == "principal" else {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.machine})
    words = b'{"error": "canary", "error_description": "canary"}'
    service = opened(server)._service
    # What the library repeats from memory, for some seconds, is the same outage.
    for pause, times in (("0", 1), ("60", 2)):
        server.refusal = (status, {"Content-Type": "application/json", "Retry-After": pause}, words)
        for _ in range(times):
            with pytest.raises(ConnectionError, match=f"no token for now: .* answered with {status}") as caught:
                service.head("p/x")
            assert "canary" not in str(caught.value)
        server.refusal = None
        if pause == "0":
            assert service.head("p/x") is None
            service = opened(server)._service


def test_a_hiccup_of_tokens_is_not_felt(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal())
    server.refusal, server.refusals = (503, {}, b""), 1
    asked(server)


def test_an_authority_that_is_not_reached_passes(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    closed = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"].replace("http:", "https:")
    env(server.principal(AZURE_AUTHORITY_HOST=closed))
    with pytest.raises(ConnectionError, match="the service principal of the environment did not answer"):
        asked(server)


def test_a_certificate_that_is_not_trusted_is_told(
    server: Entra, env: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    env(server.principal())
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ConnectionError, match="not trusted here"):
        asked(server)


def test_a_machine_whose_identity_was_there_and_is_silent_is_waited_for(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env({"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.machine})
    server.lasts_s = 1
    service = opened(server)._service
    assert service.head("p/x") is None
    server.refusal = refusal(400, 0, "Identity not found")
    assert refused(lambda: service.head("p/x"))[0] == "credentials"
    server.refusal = (500, {}, b"no JSON")
    with pytest.raises(ConnectionError):
        service.head("p/x")
    server.refusal = None
    assert service.head("p/x") is None


@pytest.mark.parametrize("before", [False, True], ids=["never", "once"])
def test_an_endpoint_that_says_nothing_holds_nobody_up(
    server: Entra, env: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Where it never was, there is no identity; where it was, that is an outage."""
    from runtime.checkpoint import azure_login

    monkeypatch.setattr(azure_login, "_READ_S", 0.3)
    env({"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.machine})
    server.lasts_s = 1
    service = opened(server)._service
    if before:
        assert service.head("p/x") is None
    server.silent = True
    if before:
        with pytest.raises(ConnectionError, match="the managed identity of this machine did not answer"):
            service.head("p/x")
        return
    code, message, _ = refused(lambda: service.head("p/x"))
    assert code == "credentials"
    assert "no managed identity answers" in message


@pytest.mark.parametrize(
    ("status", "code", "expected", "fix"),
    [
        (403, "AuthorizationPermissionMismatch", "no-permission", '"Storage Blob Data Contributor"'),
        (403, "AuthorizationFailure", "no-permission", "firewall"),
        (401, "InvalidAuthenticationInfo", "credentials", "az login --tenant"),
    ],
)
def test_what_the_store_refuses_to_an_identity_names_the_role(
    server: Entra, env: Callable[[dict[str, str]], None], status: int, code: str, expected: str, fix: str
) -> None:
    env(server.principal())
    server.store = (status, {"x-ms-error-code": code}, b"")
    found, message, mended = refused(lambda: asked(server))
    assert found == expected
    assert code in message
    assert fix in mended


def test_a_store_of_another_tenant_says_so(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal())
    server.challenge = OTHER_TENANT
    code, message, fix = refused(lambda: asked(server))
    assert code == "credentials"
    assert "belongs to another tenant than the service principal of the environment" in message
    assert OTHER_TENANT in fix
    assert TENANT not in message


def test_keys_win_over_identities_and_load_nothing_of_theirs(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal(AZURE_STORAGE_KEY="a2V5", AZURE_STORAGE_ACCOUNT="account"))
    for name in [name for name in sys.modules if name.startswith(("azure.identity", "msal"))]:
        del sys.modules[name]
    with pytest.raises(UserError):
        asked(server)
    assert server.asked == []
    assert not [name for name in sys.modules if name.startswith(("azure.identity", "msal"))]


def test_an_account_that_takes_no_keys_says_what_it_takes(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    from types import SimpleNamespace

    from runtime.checkpoint.azure_answer import answered
    from runtime.config.storage import Address

    error = SimpleNamespace(status_code=403, error_code="KeyBasedAuthenticationNotPermitted", response=None)
    found = answered(error, Address(kind="az", bucket="c"), "p/a", reading=True)
    assert isinstance(found, UserError)
    assert "the storage account takes no keys" in found.problems[0].message
    assert "AZURE_CLIENT_SECRET" in (found.problems[0].fix or "")


def test_tokens_go_over_https_alone_and_an_account_must_be_named(server: Entra, env: Callable[[dict[str, str]], None]) -> None:
    env(server.principal())
    assert "over https alone" in refused(lambda: open_store("az://models/p?endpoint=http://127.0.0.1:1/account"))[1]
    _, message, fix = refused(lambda: open_store("az://models/p"))
    assert "names no storage account" in message
    assert "AZURE_STORAGE_ACCOUNT" in fix


def test_a_missing_package_is_named(server: Entra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(UserError) as caught:
        asked(server)
    assert caught.value.problems[0].code == "missing-package"
    assert caught.value.problems[0].fix == 'pip install "azure-identity"'
