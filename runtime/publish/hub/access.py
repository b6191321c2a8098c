"""Whether a run may write to its repository: asked before anything is trained, so that hours of work never end at a closed door."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.publish.hub.asking import ask, status_of
from runtime.publish.hub.repository import MAIN, Repository

Result = TypeVar("Result")

PATIENCE_S = 30.0


def ready_to_write(repository: Repository, *, patience_s: float = PATIENCE_S, sleep: Callable[[float], object] = time.sleep) -> Repository:
    """`repository` with its full name, made if it was not there, its branch too, and found to take what this token writes.

    Raises UserError (exit 8): `credentials` without a token, for one that is not valid, may only read, or may not write there; `conflict` for a public repository where a private one
    is asked for; `unreachable` when the Hub does not answer within `patience_s` seconds.
    """
    _require_token(repository)

    def patiently(work: Callable[[], Result]) -> Result:
        return ask(work, repository, patience_s=patience_s, sleep=sleep)

    return _opened(repository, patiently)


def _require_token(repository: Repository) -> None:
    if repository.token is not None:
        return
    raise _refused(
        repository,
        f"writing to {repository.id} needs a token of the Hugging Face Hub, and there is none",
        "export HF_TOKEN=… and name it under `launch.secrets`, or store one with `hf auth login`",
    )


def _opened(repository: Repository, patiently: Callable[[Callable[[], Any]], Any]) -> Repository:
    api = repository.api()
    user = patiently(lambda: _user(repository))
    if (user.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise _refused(repository, "the token may only read", "make one that writes at https://huggingface.co/settings/tokens")
    if "/" not in repository.id:
        repository = replace(repository, id=f"{user['name']}/{repository.id}")
    name, kind = repository.id, repository.kind
    patiently(lambda: api.create_repo(name, repo_type=kind, private=repository.private, exist_ok=True))
    info = patiently(lambda: api.repo_info(name, repo_type=kind))
    if repository.private and info.private is False:
        raise UserError(
            Problem(
                code="conflict",
                path=repository.option,
                place=repository.url,
                message=f"{repository.id} is public, and what is pushed is private by default",
                fix="say so with `launch.publish.private: false`, make it private on the Hub, or name another one",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        )
    patiently(lambda: _require_write(repository))
    if repository.revision != MAIN:
        patiently(lambda: api.create_branch(name, branch=repository.revision, repo_type=kind, exist_ok=True))
    return repository


def _user(repository: Repository) -> dict[str, Any]:
    try:
        user: dict[str, Any] = repository.api().whoami()
    except OSError as error:
        # The Hub lets nobody ask this often; a full name and the checks that follow do without.
        if status_of(error) == 429 and "/" in repository.id:
            return {}
        raise
    return user


def _require_write(repository: Repository) -> None:
    try:
        repository.api().auth_check(repository.id, repo_type=repository.kind, write=True)
    except OSError as error:
        # The repository was just found, so this endpoint (a mirror, an older Hub) does not know the question.
        if status_of(error) not in (404, 405):
            raise


def _refused(repository: Repository, message: str, fix: str) -> UserError:
    return UserError(
        Problem(code="credentials", path=repository.option, place=repository.url, message=message, fix=fix),
        exit_code=ExitCode.REMOTE_REFUSED,
    )
