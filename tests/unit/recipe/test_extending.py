"""Recipes that extend others: what is joined, what is replaced, where problems are, and which bases are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.cli.app import main
from launcher.recipe.extending import Surroundings, extended_document
from launcher.recipe.load import load_recipe, options_of
from runtime.config.document import read
from runtime.config.load import load_config
from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig

BASE = """base_model: org/model
learning_rate: 1e-5
save_total_limit: 8
launch:
  gpus: A100:1
  max_hours: 3
datasets:
  - path: rows.jsonl
    type: alpaca
  - path: more.jsonl
    type: alpaca
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LAUNCHER_TEMPLATES", raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "base.yml").write_text(BASE)
    return here


def config_of(text: str, name: str = "r.yml") -> TrainingConfig:
    Path(name).write_text(text)
    checked = load_recipe(Path(name)).checked
    assert checked.config is not None, checked.errors
    return checked.config


def refusal(text: str, name: str = "r.yml") -> Any:
    Path(name).write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(Path(name))
    return caught.value.problems[0]


def test_mappings_are_joined_lists_are_replaced_and_empty_values_remove() -> None:
    config = config_of(
        "extends: ./base.yml\nsave_total_limit:\nlaunch:\n  max_hours: 5\ndatasets:\n  - path: mine.jsonl\n    type: alpaca\nseed: 3\n"
    )
    assert (config.base_model, config.learning_rate, config.seed) == ("org/model", 1e-5, 3)
    assert "save_total_limit" not in config.model_fields_set
    assert (config.launch.gpus, config.launch.max_hours) == ("A100:1", 5)
    assert [source.path for source in config.datasets or ()] == ["mine.jsonl"]
    removed = config_of("extends: ./base.yml\nlaunch:\n  gpus:\n")
    assert (removed.launch.gpus, removed.launch.max_hours) == (None, 3)


def test_a_base_may_have_a_base_and_the_nearest_wins() -> None:
    Path("middle.yml").write_text("extends: base.yml\nsave_total_limit: 16\nseed: 1\n")
    config = config_of("extends: middle.yml\nseed: 2\n")
    assert (config.save_total_limit, config.seed, config.base_model) == (16, 2, "org/model")


@pytest.mark.parametrize(
    ("below", "above"), [("max_packed_sequence_len: 512", "sequence_len: 1024"), ("sequence_len: 512", "max_seq_length: 1024")]
)
def test_an_old_name_below_is_the_option_above(below: str, above: str) -> None:
    Path("base.yml").write_text(BASE + below + "\n")
    if "max_seq_length" in above:
        above = "max_packed_sequence_len: 1024"
    assert config_of(f"extends: base.yml\n{above}\n").sequence_len == 1024


def test_a_family_is_what_new_writes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of("extends: smollm/135m/lora\nlora_r: 4\n")
    with pytest.raises(SystemExit):
        main(["new", "smollm", "--size", "135m", "--method", "lora", "-o", "new.yml", "--set", "lora_r=4"])
    assert load_config(Path("new.yml")).config == config


def test_a_base_may_be_a_template_with_variables_and_the_target() -> None:
    Path("base.yml.j2").write_text(BASE.replace("save_total_limit: 8", "save_total_limit: {{ rank }}\nmicro_batch_size: {{ gpu.count }}"))
    Path("r.yml").write_text("extends: base.yml.j2\n")
    config = load_recipe(Path("r.yml"), variables={"rank": 3}, target={"name": "L4", "count": 2}).checked.config
    assert config is not None
    assert (config.save_total_limit, config.micro_batch_size) == (3, 2)
    problem = refusal("extends: base.yml.j2\n")
    assert (problem.code, problem.file, problem.line) == ("missing", "base.yml.j2", 3)


def test_a_problem_is_placed_in_the_file_it_is_in() -> None:
    Path("sub").mkdir()
    Path("base.yml").write_text(BASE + "lora_alhpa: 3\nmodel_type: A\n")
    Path("sub/r.yml").write_text("extends: ../base.yml\nlaunch:\n  spot: maybe\ndatasets:\n  - path: x\n    type: alpacca\n")
    checked = load_recipe(Path("sub/r.yml")).checked
    assert [(problem.file, problem.line, problem.path) for problem in checked.errors] == [
        ("base.yml", 12, "lora_alhpa"),
        ("sub/r.yml", 3, "launch.spot"),
        ("sub/r.yml", 6, "datasets[0].type"),
    ]
    assert [(problem.file, problem.line) for problem in checked.warnings] == [("base.yml", 13)]


def test_a_value_from_the_command_line_goes_over_all() -> None:
    Path("r.yml").write_text("extends: base.yml\nsave_total_limit: 16\n")
    checked = load_recipe(Path("r.yml"), sets=["save_total_limit=32", "datasets.1.path=z"]).checked
    assert checked.config is not None
    assert checked.config.save_total_limit == 32
    assert [source.path for source in checked.config.datasets or ()] == ["rows.jsonl", "z"]


@pytest.mark.parametrize(
    ("wanted", "code", "said"),
    [
        ("none.yml", "missing-file", "no recipe 'none.yml'"),
        ("../outside.yml", "unsafe-path", "leads out"),
        ("sub/../../outside.yml", "unsafe-path", "leads out"),
        ("link.yml", "unsafe-path", "leads out"),
        ("/etc/passwd", "wrong-type", "neither a recipe's file nor a family"),
        ("~/.ssh/id_rsa", "unknown-name", "no family '~'"),
        ("notes.txt", "wrong-type", "neither"),
        ("hidden.yml", "unsafe-path", "leads out"),
        ("folder.yml", "missing-file", "no recipe"),
        ("smollm/135m", "wrong-type", "neither"),
        ("smolm/135m/lora", "unknown-name", "did you mean 'smollm'"),
        ("smollm/135m/../lora", "wrong-type", "neither"),
        ("smollm/136m/lora", "unknown-name", "there is no size"),
        ("smollm/135m/_recipe", "unknown-name", "there is no method"),
        ("[a, b]", "wrong-type", "must be a text"),
        ("{{ 7*7 }}", "missing-file", "no recipe '49.yml'"),
        ("$(touch pwned).yml", "missing-file", "no recipe '$(touch pwned).yml'"),
    ],
)
def test_what_cannot_be_extended_is_refused_where_it_is_said(tmp_path: Path, folder: Path, wanted: str, code: str, said: str) -> None:
    (tmp_path / "outside.yml").write_text(BASE)
    (folder / "sub").mkdir()
    (folder / "link.yml").symlink_to(tmp_path / "outside.yml")
    # A link whose target is no recipe by name, inside the folder.
    (folder / "notes.txt").write_text(BASE)
    (folder / "hidden.yml").symlink_to(folder / "notes.txt")
    (folder / "folder.yml").mkdir()
    text = f"seed: 1\nextends: {wanted}{'.yml' if wanted.startswith('{{') else ''}\n"
    problem = refusal(text)
    assert (problem.code, problem.file, problem.line) == (code, "r.yml", 2)
    assert said in problem.message
    assert not (folder / "pwned").exists()


def test_recipes_in_a_circle_are_refused() -> None:
    Path("a.yml").write_text("extends: b.yml\n")
    Path("b.yml").write_text("seed: 1\nextends: ./sub/../a.yml\n")
    Path("sub").mkdir()
    problem = refusal("extends: a.yml\n")
    assert (problem.code, problem.file, problem.line) == ("conflict", "b.yml", 2)
    assert "a.yml → b.yml → a.yml" in problem.message


def test_a_broken_base_is_told_in_its_own_file() -> None:
    Path("base.yml").write_text("a: [1\n")
    problem = refusal("extends: base.yml\n")
    assert (problem.code, problem.file, problem.line) == ("yaml", "base.yml", 1)


def test_a_base_lies_in_the_folder_of_the_users_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "house.yml").write_text(BASE)
    assert refusal("extends: house.yml\n").code == "missing-file"
    monkeypatch.setenv("LAUNCHER_TEMPLATES", str(own))
    assert config_of("extends: house.yml\nseed: 2\n").base_model == "org/model"


def test_a_plugin_beside_the_base_is_found(tmp_path: Path, folder: Path) -> None:
    (folder / "bases").mkdir()
    (folder / "bases" / "base.yml").write_text(BASE + "plugins:\n  - beside_base.Extra\nextra_knob: 3\n")
    (folder / "bases" / "beside_base.py").write_text(
        "from pydantic import BaseModel\n\nfrom runtime.plugins import Plugin\n\n\nclass Arguments(BaseModel):\n    extra_knob: int | None = None\n\n\n"
        "class Extra(Plugin):\n    def get_input_args(self):\n        return 'beside_base.Arguments'\n"
    )
    Path("r.yml").write_text("extends: bases/base.yml\nseed: 1\n")
    checked = load_recipe(Path("r.yml")).checked
    assert checked.config is not None, checked.errors
    assert checked.config.extra_knob == 3  # type: ignore[attr-defined]
    assert "extra_knob" in options_of(Path("r.yml")).model_fields


def test_commands_see_one_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("base.yml").write_text(BASE + "model_type: A\n")
    Path("r.yml").write_text("extends: base.yml\nsave_total_limt: 4\n")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = run("validate", "r.yml", "--json")
    assert code == 2
    assert json.loads(out)["data"]["files"][0]["errors"][0]["where"] == "r.yml:2:1"
    Path("r.yml").write_text("extends: base.yml\nsave_total_limit: 4\n")
    # What is old in the base is not rewritten in the recipe that extends it.
    assert run("validate", "r.yml", "--fix")[0] == 0
    assert Path("r.yml").read_text() == "extends: base.yml\nsave_total_limit: 4\n"
    code, out = run("render", "r.yml")
    assert code == 0
    assert "extends" not in out
    assert "save_total_limit: 4" in out
    assert "base_model: org/model" in out


def test_explain_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "extends"])
    assert not ended.value.code
    assert "laid over" in capsys.readouterr().out


def test_the_runtime_says_who_joins_recipes() -> None:
    Path("r.yml").write_text("extends: base.yml\n")
    with pytest.raises(UserError, match="launcher render FILE"):
        load_config(Path("r.yml"))


TREES = st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), max_leaves=8)


@given(below=st.dictionaries(st.sampled_from("abc"), TREES), above=st.dictionaries(st.sampled_from("abc"), TREES))
def test_joining_is_what_it_says_of_any_two_mappings(below: dict[str, Any], above: dict[str, Any]) -> None:
    def joined(base: Any, over: Any) -> Any:
        if not (isinstance(base, dict) and isinstance(over, dict)):
            return over
        return base | {key: joined(base[key], value) if key in base else value for key, value in over.items()}

    Path("base.yml").write_text(json.dumps({"z": 0} | below))
    document = read(json.dumps({"extends": "base.yml"} | above), file="r.yml")
    around = Surroundings(inside=(Path.cwd(),), folders=(), variables={}, target=None)
    result, files = extended_document(document, around)
    assert result.values == joined({"z": 0} | below, above)
    assert [file.name for file in files] == ["base.yml"]
    # Each value has a place, in one of the two files.
    assert {result.position((key,)).file for key in above} <= {"r.yml"}
    assert {result.position((key,)).file for key in result.values if key not in above} <= {"base.yml"}
