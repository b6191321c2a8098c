"""Which secrets a recipe needs, and whether this machine has a token of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.config.rules.hub import repository_names, token_is_taken_along
from runtime.config.schema import TrainingConfig
from runtime.config.secrets import check_hub_token, has_hub_token, wanted_secrets


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig(base_model="org/model", learning_rate=1e-4, **values)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, ()),
        ({"launch": {"secrets": ["A", "A"]}}, ("A",)),
        ({"hub_model_id": "me/m"}, ("HF_TOKEN",)),
        ({"push_dataset_to_hub": "me/d", "launch": {"secrets": ["A"]}}, ("A", "HF_TOKEN")),
        ({"hub_model_id": "me/m", "launch": {"secrets": ["HF_TOKEN", "A"]}}, ("HF_TOKEN", "A")),
    ],
)
def test_what_writes_to_the_hub_asks_for_its_token(values: dict[str, Any], wanted: tuple[str, ...]) -> None:
    assert wanted_secrets(config(**values)) == wanted


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({"HF_TOKEN_PATH": "{}/here"}, "here"),
        ({"HF_HOME": "{}/hf"}, "hf/token"),
        ({"XDG_CACHE_HOME": "{}/x", "HOME": "/nowhere"}, "x/huggingface/token"),
        ({"HOME": "{}"}, ".cache/huggingface/token"),
    ],
)
def test_a_stored_token_is_found(tmp_path: Path, variables: dict[str, str], file: str) -> None:
    environment = {name: value.format(tmp_path) for name, value in variables.items()}
    assert not has_hub_token(environment)
    with pytest.raises(UserError) as caught:
        check_hub_token(config(hub_model_id="me/m"), environment)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("hf_x")
    assert has_hub_token(environment)
    check_hub_token(config(hub_model_id="me/m"), environment)


def test_one_in_the_environment_is_enough(tmp_path: Path) -> None:
    assert has_hub_token({"HF_TOKEN": "hf_x", "HOME": str(tmp_path)})
    check_hub_token(config(), {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("launch", "warned"),
    [
        ({}, False),
        ({"cloud": "local"}, False),
        ({"cloud": "aws"}, True),
        ({"backend": "sky"}, True),
        ({"cloud": "aws", "secrets": ["HF_TOKEN"]}, False),
    ],
)
def test_a_machine_elsewhere_must_be_given_the_token(launch: dict[str, Any], warned: bool) -> None:
    findings = list(token_is_taken_along(config(hub_model_id="me/m", launch=launch)))
    assert [finding.warning for finding in findings] == [True] * warned
    assert not list(token_is_taken_along(config(launch=launch)))


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("me/model-8b_v1.2", True),
        ("model", True),
        ("me/-x", False),
        ("me/x.", False),
        ("me/a--b", False),
        ("a b/c", False),
        ("a/b/c", False),
        ("/x", False),
    ],
)
def test_names_of_repositories(name: str, good: bool) -> None:
    assert (list(repository_names(config(hub_model_id=name))) == []) == good


def test_the_names_are_the_hubs_own() -> None:
    validate = pytest.importorskip("huggingface_hub.utils").validate_repo_id
    for name in ("me/model-8b_v1.2", "model", "me/-x", "me/x.", "me/a--b", "a b/c", "a/b/c", "_me/x", "me/x" * 30, "me/a..b"):
        try:
            validate(name)
            good = True
        except ValueError:
            good = False
        assert (list(repository_names(config(hub_model_id=name))) == []) == good, name
