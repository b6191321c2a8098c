"""A push is one commit over the newest one, ends although the Hub fails on the way, and is compared file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.publish.hub.access import ready_to_write
from runtime.publish.hub.pushing import push

pytestmark = pytest.mark.train

MODEL = "models/tester/model"
Make = Callable[..., Any]


def pushed(repository: Any, files: dict[str, Path], **settings: Any) -> Any:
    """What a push gives, and the pauses it made."""
    pauses: list[float] = []
    given = {"message": "a model", "patience_s": 600.0, "sleep": pauses.append, **settings}
    return push(repository, files, **given), pauses


def test_a_model_arrives_in_one_private_commit(online: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    result, _ = pushed(ready, model)
    assert online.server.repos[MODEL].private
    assert online.server.titles(MODEL) == ["a model", "initial commit"]
    held = online.server.files(MODEL)
    assert {name: held[name] for name in model} == {name: path.read_bytes() for name, path in model.items()}
    assert result.url == f"{online.endpoint}/tester/model"
    assert (result.commit, result.files, result.changed) == (online.server.repos[MODEL].branches["main"], 3, 3)
    assert result.bytes == sum(path.stat().st_size for path in model.values())


def test_the_same_again_makes_no_commit(online: Any, repository: Make, model: dict[str, Path]) -> None:
    first, _ = pushed(ready_to_write(repository()), model)
    uploads = sum(request.startswith("PUT") for request in online.server.asked)
    again, _ = pushed(repository(), model)
    assert (again.commit, again.changed) == (first.commit, 0)
    assert sum(request.startswith("PUT") for request in online.server.asked) == uploads == 1


def test_a_branch_of_its_own(online: Any, repository: Make, model: dict[str, Path]) -> None:
    result, _ = pushed(ready_to_write(repository(revision="try/1")), model)
    assert online.server.titles(MODEL) == ["initial commit"]
    assert online.server.titles(MODEL, "try/1") == ["a model", "initial commit"]
    assert result.url.endswith("/tester/model/tree/try%2F1")


def test_one_of_several_equal_files_is_sent_once(online: Any, repository: Make, model: dict[str, Path]) -> None:
    files = {**model, "last-checkpoint/model.safetensors": model["model.safetensors"]}
    pushed(ready_to_write(repository()), files)
    assert sum(request.startswith("PUT") for request in online.server.asked) == 1
    assert online.server.files(MODEL)["last-checkpoint/model.safetensors"] == model["model.safetensors"].read_bytes()


def test_a_commit_that_came_first_is_kept(online: Any, repository: Make, model: dict[str, Path]) -> None:
    ready, once = ready_to_write(repository()), []

    def intrude(request: str) -> None:
        if "/commit/" in request and not once:
            once.append(online.server.put(MODEL, {"notes.txt": b"mine"}, title="somebody else's"))

    online.server.before = intrude
    _, pauses = pushed(ready, model)
    assert online.server.titles(MODEL) == ["a model", "somebody else's", "initial commit"]
    assert online.server.files(MODEL)["notes.txt"] == b"mine"
    assert pauses == [0.0]


def test_a_commit_whose_answer_was_lost_is_not_made_twice(online: Any, hub_module: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    online.server.order(r"POST .*/commit/main", hub_module.Answer(how="lose"))
    result, _ = pushed(ready, model)
    assert online.server.titles(MODEL) == ["a model", "initial commit"]
    assert result.commit == online.server.repos[MODEL].branches["main"]


@pytest.mark.parametrize("nth", [3, 4, 5])
def test_every_nth_request_fails(online: Any, repository: Make, model: dict[str, Path], nth: int) -> None:
    online.server.every = (nth, 500)
    ready = ready_to_write(repository(), patience_s=10**6, sleep=lambda seconds: None)
    pushed(ready, model, patience_s=10**6)
    online.server.every = None
    assert online.server.titles(MODEL).count("a model") == 1
    assert online.server.files(MODEL)["model.safetensors"] == model["model.safetensors"].read_bytes()


@pytest.mark.parametrize("where", [r"PUT /store", r"POST .*batch", r"POST .*/preupload", r"GET .*/tree", r"POST .*/commit"])
@pytest.mark.parametrize("how", ["drop", "lose"])
def test_a_connection_that_breaks(online: Any, hub_module: Any, repository: Make, model: dict[str, Path], where: str, how: str) -> None:
    ready = ready_to_write(repository())
    online.server.order(where, hub_module.Answer(how=how))
    pushed(ready, model)
    assert online.server.titles(MODEL) == ["a model", "initial commit"]


def test_a_rate_limit_is_waited_for_as_asked(online: Any, hub_module: Any, repository: Make, model: dict[str, Path]) -> None:
    ready, told = ready_to_write(repository()), []
    limited = hub_module.Answer(429, {"Retry-After": "37"})
    online.server.order(r"POST .*/commit", limited, hub_module.Answer(429, {"RateLimit": '"api";r=0;t=41'}))
    _, pauses = pushed(ready, model, on_retry=lambda **fields: told.append(fields))
    assert pauses == [37.0, 41.0]
    assert told[0] == {"message": "429, as ordered", "attempt": 1, "wait_s": 37.0}


def test_patience_ends(online: Any, hub_module: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    online.server.order(r"POST .*/commit", hub_module.Answer(429, {"Retry-After": "90"}))
    with pytest.raises(UserError, match="kept failing: 429") as caught:
        pushed(ready, model, patience_s=60.0)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED


def test_who_is_called_off_ends_at_once(online: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    online.server.order(r"POST .*/commit", 503, 503)
    with pytest.raises(UserError):
        pushed(ready, model, cancelled=lambda: True)
    assert sum("/commit/" in request for request in online.server.asked) == 1


def test_sending_goes_on_where_it_was_cut_off(online: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    online.server.order(r"POST .*/commit", 403)
    with pytest.raises(UserError, match="refuses"):
        pushed(ready, model)
    pushed(ready, model)
    assert sum(request.startswith("PUT") for request in online.server.asked) == 1


def test_what_arrives_changed_is_not_verified(online: Any, repository: Make, model: dict[str, Path]) -> None:
    ready = ready_to_write(repository())
    push_page = next(
        index for index, (verb, path, _) in enumerate(hub_routes(online)) if verb == "POST" and path.endswith("commit/(?P<revision>[^/]+)")
    )
    verb, path, work = hub_routes(online)[push_page]

    def spoil(request: Any) -> Any:
        request.hub.blobs = {oid: content[:-1] + b"!" for oid, content in request.hub.blobs.items()}
        answer = work(request)
        held = request.repo()
        commit = held.commits[answer["commitOid"]]
        commit.files["config.json"] = type(commit.files["config.json"])(b"[]", None)
        return answer

    hub_routes(online)[push_page] = (verb, path, spoil)
    try:
        with pytest.raises(UserError, match=r"differs from what was sent: config\.json") as caught:
            pushed(ready, model)
    finally:
        hub_routes(online)[push_page] = (verb, path, work)
    assert caught.value.exit_code == ExitCode.NOT_VERIFIED


def hub_routes(online: Any) -> list[Any]:
    import sys

    return sys.modules["hub_server"]._ROUTES


def test_old_names_go_in_the_same_commit_and_others_stay(online: Any, repository: Make, model: dict[str, Path]) -> None:
    online.server.put(MODEL, {"adapter_config.json": b"{}", "notes.txt": b"mine"}, private=True)
    pushed(ready_to_write(repository()), model, stale=lambda there: [name for name in there if name.startswith("adapter")])
    assert "adapter_config.json" not in online.server.files(MODEL)
    assert online.server.files(MODEL)["notes.txt"] == b"mine"
    assert len(online.server.titles(MODEL)) == 3
