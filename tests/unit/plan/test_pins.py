"""What a plan fixes beyond its config, and what is said when that has changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.estimate.hardware import Hardware
from launcher.plan.git_state import git_state
from launcher.plan.hub_commits import HubCommits, UnresolvedError
from launcher.plan.lock import Lock, read_lock, write_lock
from launcher.plan.pins import Pinning
from launcher.plan.plan import make_plan
from launcher.plan.target import Target
from runtime.config.load import check_text
from runtime.config.problem import ExitCode, UserError
from runtime.config.schema import TrainingConfig
from runtime.config.secrets import REGISTRY_LOGIN

HERE = Target(cloud="local", hardware=Hardware(name="this machine", capacity_gib=16, cores=4, rented=False), usd_per_h=0.0)
DIGEST = "sha256:" + "ab" * 32


class Known:
    """Names whose commits and digests are known; everything else is not."""

    def __init__(self, **known: str) -> None:
        self.known, self.asked = known, []  # type: ignore[var-annotated]

    def commit(self, kind: str, repository: str, revision: str) -> str:
        self.asked.append((kind, repository, revision))
        if (found := self.known.get(repository.replace("/", "_"))) is None:
            raise UnresolvedError("nobody knows")
        return found

    def digest(self, image: str) -> str:
        return self.commit("image", image.partition(":")[0], "")

    def is_private(self, image: str) -> bool:
        return image.startswith("private.io/")


def config_of(text: str) -> TrainingConfig:
    checked = check_text(text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def pinning(**known: str) -> Pinning:
    names = Known(**known)
    return Pinning(commits=names, digests=names, known={})  # type: ignore[arg-type]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 1000,
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(model), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": "word " * 50}) for _ in range(20)), encoding="utf-8")
    file = tmp_path / "recipe.yml"
    file.write_text("base_model: ./model\nlearning_rate: 0.001\ndatasets: [{path: rows.jsonl, type: completion}]\n", encoding="utf-8")
    return file


def locked(recipe: Path, **known: str) -> Path:
    config, pins, _ = pinning(**known).pinned(config_of(recipe.read_text(encoding="utf-8")), recipe=recipe)
    plan = make_plan(config, recipe=Path(recipe.name), target=HERE, run_name="calm-otter-1", environment={}, now=1000.0)
    path = recipe.with_name("plan.lock")
    write_lock(path, plan, folder=recipe.parent, pins=pins)
    return path


def refused(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_lock(path)
    assert caught.value.exit_code == ExitCode.REFUSED
    return [problem.message for problem in caught.value.problems]


def test_names_elsewhere_are_fixed_in_the_config_that_runs() -> None:
    text = (
        "base_model: org/model\nrevision_of_model: main\nlearning_rate: 1\nlaunch: {gpus: L4:1, image: 'ghcr.io/me/run:v1'}\n"
        "datasets: [{path: org/rows, type: alpaca}, {path: org/rows, type: alpaca, split: test}, {path: 's3://b/rows.jsonl', type: alpaca}, {path: json, data_files: rows.jsonl, type: alpaca}]\n"
    )
    asked = pinning(org_model="1" * 40, org_rows="2" * 40, **{"ghcr.io_me_run": DIGEST})
    config, pins, warnings = asked.pinned(config_of(text), recipe=Path("recipe.yml"))
    assert config.revision_of_model == "1" * 40
    assert [source.revision for source in config.datasets or ()] == ["2" * 40, "2" * 40, None, None]
    assert config.launch.image == f"ghcr.io/me/run:v1@{DIGEST}"
    assert [(pin.option, pin.asked, pin.fixed) for pin in pins.named] == [
        ("base_model", "main", "1" * 40),
        ("datasets[0]", "", "2" * 40),
        ("datasets[1]", "", "2" * 40),
        ("launch.image", "", DIGEST),
    ]
    assert not warnings
    # Each name is asked for once, by all runs of a sweep together.
    asked.pinned(config_of(text), recipe=Path("recipe.yml"))
    assert len(asked.commits.asked) == 3  # type: ignore[attr-defined]


def test_what_nobody_can_fix_is_recorded_and_said() -> None:
    text = "base_model: org/model\nlearning_rate: 1\ndatasets: [{path: org/rows, type: alpaca, revision: main}]\n"
    before = config_of(text)
    config, pins, warnings = pinning().pinned(before, recipe=Path("recipe.yml"))
    assert config == before
    assert [(pin.name, pin.fixed, pin.why) for pin in pins.named] == [
        ("org/model", None, "nobody knows"),
        ("org/rows", None, "nobody knows"),
    ]
    assert [(problem.code, problem.path) for problem in warnings] == [("not-pinned", "base_model"), ("not-pinned", "datasets[0]")]


def test_a_private_image_needs_a_login_where_the_run_is() -> None:
    text = "base_model: ./here\nlearning_rate: 1\ndatasets: [{path: s3://b/r.jsonl, type: alpaca}]\nlaunch: {gpus: L4:1, image: private.io/a, secrets: [%s]}\n"
    for secrets, warned in (("HF_TOKEN", ["missing-secret"]), (", ".join(REGISTRY_LOGIN), [])):
        _, _, warnings = pinning(**{"private.io_a": DIGEST}).pinned(config_of(text % secrets), recipe=Path("recipe.yml"))
        assert [problem.code for problem in warnings] == warned


def test_every_change_since_is_told_by_its_name(recipe: Path) -> None:
    path = locked(recipe)
    assert isinstance(read_lock(path), Lock)
    (recipe.parent / "rows.jsonl").write_text('{"text": "other"}', encoding="utf-8")
    config = recipe.parent / "model" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("1000", "2000"), encoding="utf-8")
    text = (
        path.read_text(encoding="utf-8")
        .replace("learning_rate: 0.001", "learning_rate: 0.9")
        .replace("type: completion", "type: alpaca", 1)
    )
    path.write_text(text, encoding="utf-8")
    told = refused(path)
    assert told[0].startswith("its file rows.jsonl has changed since: it had 5,")
    assert told[0].endswith("bytes and has 17")
    assert told[1:] == [
        "its file model/config.json has changed since: the same size, another content",
        "it was edited: datasets[0].type was completion and is alpaca",
        "it was edited: learning_rate was 0.001 and is 0.9",
    ]


def test_another_commit_is_worth_knowing_and_changes_nothing(recipe: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=recipe.parent, check=True, capture_output=True)

    assert git_state(recipe.parent) is None
    git("init", "-q")
    git("add", "recipe.yml")
    git("commit", "-qm", "one")
    state = git_state(recipe.parent)
    assert state is not None
    # The data lies beside the recipe and was never added.
    assert state.dirty
    path = locked(recipe)
    git("add", "rows.jsonl", "model", "plan.lock")
    git("commit", "-qm", "two")
    (warning,) = read_lock(path).warnings
    assert (
        warning.message
        == f"git was at {state} when it was planned and is at {git_state(recipe.parent)}; the plan's own config is what runs"
    )


@pytest.mark.train
def test_the_hub_names_the_commit_of_a_branch_and_the_cache_steps_in(online: Any, tmp_path: Path) -> None:
    hub = online.server
    first = hub.put("datasets/me/rows", {"a.jsonl": b"{}"})
    commits = HubCommits({"HF_ENDPOINT": online.endpoint, "HF_HOME": str(tmp_path)})
    assert commits.commit("dataset", "me/rows", "") == first
    second = hub.put("datasets/me/rows", {"b.jsonl": b"{}"})
    assert commits.commit("dataset", "me/rows", "main") == second
    assert commits.commit("dataset", "me/rows", first) == first
    with pytest.raises(UnresolvedError, match="no such revision: nope"):
        commits.commit("dataset", "me/rows", "nope")
    hub.put("models/me/model", {"config.json": b"{}"})
    hub.order("GET /api/models/me/model", 403)
    with pytest.raises(UnresolvedError, match="does not answer"):
        commits.commit("model", "me/model", "")
    note = tmp_path / "hub" / "models--me--model" / "refs" / "main"
    note.parent.mkdir(parents=True)
    note.write_text("c" * 40)
    hub.order("GET /api/models/me/model", 403)
    assert commits.commit("model", "me/model", "") == "c" * 40
    with pytest.raises(UnresolvedError, match="no such repository"):
        commits.commit("model", "me/other", "")


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan.update(run="../../elsewhere"),
        lambda plan: plan["plan"]["offers"].clear(),
        lambda plan: plan["plan"]["budget"].update(max_cost_usd=1e9),
        lambda plan: plan["plan"].update(created="yesterday", cost={"usd": 5}, memory="x"),
        lambda plan: plan.pop("sha256"),
    ],
)
def test_an_edit_that_is_no_option_is_refused_too(recipe: Path, edit: Any) -> None:
    path = locked(recipe)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content), encoding="utf-8")
    assert isinstance(read_lock(path), Lock), "written anew by an editor, it says the same"
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert refused(path) == ["it was edited: it is not what was written"]
