"""Whatever a user writes into any option of text is refused, or arrives on the machine as the same text: it starts no key, no command and no template."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.cli.app import main
from launcher.task.making import make_task
from launcher.task.task import node_config, render_task
from runtime.config.effects import effect_of
from runtime.config.load import check_text
from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.config.shape import members, options

# Everything that some reader between the recipe and the machine might take for its own.
HOSTILE = "'\"; touch pwned #\nsetup: touch pwned\n- a: {b: [c\n\\ $(touch pwned) `touch pwned` ${HOME} %s {{ 7 * 7 }}{% raw %}{# ../../etc/passwd !!x &y *z \t☃\U0001f600\u2028é"
TAME = "$(touch pwned)"  # on one line, without quotes: what stricter checks let pass
PLAIN: dict[str, Any] = {
    "base_model": "org/model",
    "learning_rate": 1e-4,
    "micro_batch_size": 1,
    "datasets": [{"path": "org/rows", "type": "alpaca"}],
    "launch": {"gpus": "A100:8", "cloud": "aws", "storage": "s3://bucket/runs"},
}
# Options of text that do something, and lists of such.
TEXTS = [
    (path, str in kinds)
    for path, info, _ in options()
    if (kinds := set(members(info.annotation))) & {str, list[str]} and effect_of(path).kind in ("implemented", "passed")
]


def recipe_with(path: str, value: Any) -> dict[str, Any]:
    *holders, last = path.split(".")
    values = deepcopy(PLAIN)
    place: Any = values
    for holder in holders:
        name = holder.removesuffix("[]")
        place = place.setdefault(name, [{}] if holder.endswith("[]") else {})
        place = place[0] if isinstance(place, list) else place
        if not isinstance(place, dict):
            return {}
    place[last] = value
    return values


def taken(path: str, *, alone: bool) -> TrainingConfig | None:
    """The config that has a hostile text at `path`, the worst that is not refused."""
    for text in (HOSTILE, TAME):
        checked = check_text(json.dumps(recipe_with(path, text if alone else [text])), file="r.yml")
        if checked.config is not None:
            return checked.config
    return None


def test_every_text_of_a_recipe_is_data_in_the_task(tmp_path: Path) -> None:
    plain = rendered(TrainingConfig.model_validate(PLAIN), tmp_path)
    carried = set()
    for path, alone in TEXTS:
        config = taken(path, alone=alone)
        if config is None:
            continue
        try:
            task = rendered(config, tmp_path)
        except UserError:
            continue
        same = ("setup", "run", "name", "num_nodes")
        assert {key: task[key] for key in same} == {key: plain[key] for key in same}, path
        assert set(task) - {"secrets", "file_mounts"} == set(plain) - {"secrets", "file_mounts"}, path
        again = check_text(task["envs"]["LAUNCHER_CONFIG"], file="again.yml").config
        assert again is not None, path
        assert again.model_dump(exclude_unset=True) == node_config(config, run="tame-otter").model_dump(exclude_unset=True), path
        carried.add(path)
    # Most options of text take any text; those of a fixed form do not.
    assert len(carried) > 50
    assert {"wandb_name", "launch.storage", "launch.region", "special_tokens.pad_token", "datasets[].name"} <= carried


def rendered(config: TrainingConfig, folder: Path) -> Any:
    made = make_task(config, run="tame-otter", recipe="r.yml", cwd=folder, environment={})
    return yaml.load(render_task(made.task), Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("name", ["A B", "A: x\nB", "$(touch pwned)", "{{ x }}", "1A", "Å", "", "HF_TOKEN=hf_canary"])
def test_a_secret_has_the_name_of_a_variable(name: str) -> None:
    checked = check_text(yaml.safe_dump(PLAIN | {"launch": {"gpus": "A100:8", "secrets": ["HF_TOKEN", name]}}), file="r.yml")
    (problem,) = checked.errors
    assert (problem.path, problem.line) == ("launch.secrets[1]", 9)
    assert "canary" not in str(problem), "a value that slipped in is not said again"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--name", HOSTILE), 2),
        (("--image", "$(touch pwned)"), 2),
        (("--region", HOSTILE, "--image", "r.io/org/run-time_1:2.0@sha256:ab", "--set", f"wandb_name='{TAME}'", "--var", f"x={TAME}"), 0),
    ],
)
def test_words_of_the_command_line_are_data_too(
    words: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "$(touch pwned) 'r'.yml"
    recipe.write_text("wandb_run_id: {{ x | default('none') | yaml }}\n" + yaml.safe_dump(PLAIN))
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "LAUNCHER_PRICES"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(SystemExit) as ended:
        main(["render", str(recipe), "--task", *words])
    assert int(ended.value.code or 0) == code
    if code == 0:
        task = yaml.safe_load(capsys.readouterr().out)
        config = yaml.safe_load(task["envs"]["LAUNCHER_CONFIG"])
        assert task["envs"]["LAUNCHER_RECIPE"] == str(recipe)
        assert task["resources"]["image_id"] == "docker:r.io/org/run-time_1:2.0@sha256:ab"
        assert task["resources"]["infra"] == f"aws/{HOSTILE}"
        assert (config["wandb_name"], config["wandb_run_id"]) == (TAME, TAME)
    assert not list(tmp_path.rglob("pwned"))
