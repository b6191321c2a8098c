"""What `plugins:` may list: extensions of the public tool, and plugins of one's own with options that are checked as all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from runtime.config.explain import explanation
from runtime.config.json_schema import json_schema
from runtime.config.load import Checked, check_text, config_hash, dump_yaml
from runtime.config.plugins import SHIPPED, shipped
from runtime.config.rules.plugins import is_built

MINIMAL = "base_model: org/model\nlearning_rate: 0.0001\ndatasets: [{path: rows.jsonl, type: alpaca}]\n"
LIGER = "axolotl.integrations.liger.LigerPlugin"
CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
OPTIONS = """
from typing import Literal
from pydantic import BaseModel, Field, field_validator

class Inner(BaseModel):
    depth: int = 1

class Options(BaseModel):
    shake: float = Field(0.0, ge=0, description="How much to shake.")
    shake_mode: Literal["soft", "hard"] = "soft"
    shake_inner: Inner | None = None

    @field_validator("shake")
    @classmethod
    def not_seven(cls, value):
        if value == 7:
            raise ValueError("seven is taken")
        if value == 8:
            raise KeyError("eight")
        return value
"""
PLUGIN = "from runtime.plugins import Plugin\nfrom shaking_options import Options\n\nclass Shaking(Plugin):\n    def get_input_args(self):\n        return Options\n"


@pytest.fixture
def check(tmp_path: Path) -> object:
    """Checks a recipe that has `shaking.py` and `shaking_options.py` beside it."""
    (tmp_path / "shaking_options.py").write_text(OPTIONS, encoding="utf-8")
    (tmp_path / "shaking.py").write_text(PLUGIN, encoding="utf-8")

    def checked(text: str) -> Checked:
        return check_text(MINIMAL + text, file=str(tmp_path / "recipe.yml"))

    return checked


def found(checked: Checked) -> list[tuple[str, str, int | None]]:
    return [(problem.code, problem.path, problem.line) for problem in checked.errors]


def said(checked: Checked) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in checked.warnings]


@pytest.mark.parametrize(
    "entry", [LIGER, "axolotl.integrations.liger", "axolotl.integrations.liger.plugin.LigerPlugin", "liger.LigerPlugin"]
)
def test_entries_of_recipes_in_the_wild_name_what_is_built_in(check, entry: str) -> None:
    checked = check(f"plugins: [{entry}]\nliger_rope: true\n")
    assert (found(checked), said(checked)) == ([], [])


@pytest.mark.parametrize(
    ("entry", "code", "suggestion"),
    [
        ("axolotl.integrations.liger.LigerPlugn", "unknown-name", LIGER),
        ("axolotl.integration.liger.LigerPlugin", "unknown-name", LIGER),
        ("axolotl.integrations.LigerPlugin", "unknown-name", LIGER),
        ("axolotl.integrations.no_such_thing.Plugin", "unknown-name", None),
        ("axolotl.integrations.densemixer.DenseMixerPlugin", "unsupported", None),
        ("axolotl.integrations.nemo_gym", "unsupported", None),
        ("liger", "plugin", LIGER),
        ("axoltl.integrations.liger.LigerPlugin", "plugin", LIGER),
    ],
)
def test_an_entry_that_is_not_right_is_told_with_what_was_meant(check, entry: str, code: str, suggestion: str | None) -> None:
    (problem,) = check(f"plugins:\n  - {entry}\n").errors
    assert (problem.code, problem.path, problem.line, problem.suggestion) == (code, "plugins[0]", 5, suggestion)
    assert "not supported here yet" in problem.message or code != "unsupported"


def test_every_wrong_entry_is_told_at_once(check) -> None:
    checked = check("plugins: [nothing.Here, axolotl.integrations.no_such_thing, axolotl.integrations.mora]\n")
    assert [(code, path) for code, path, _ in found(checked)] == [
        ("plugin", "plugins[0]"),
        ("unknown-name", "plugins[1]"),
        ("unsupported", "plugins[2]"),
    ]


def test_an_option_without_its_plugin_works_and_is_warned_about_once(check) -> None:
    checked = check("liger_rope: true\nliger_rms_norm: true\n")
    assert found(checked) == []
    (warning,) = checked.warnings
    assert (warning.code, warning.path, warning.suggestion) == ("no-plugin", "liger_rms_norm", LIGER)
    assert checked.config is not None
    assert checked.config.liger_rope is True
    assert said(check("liger_rope: false\n")) == []


def test_a_plugin_listed_twice_or_for_nothing_is_warned_about(check) -> None:
    assert said(check(f"plugins: [{LIGER}, axolotl.integrations.liger]\nliger_rope: true\n")) == [("no-effect", "plugins[1]")]
    assert said(check(f"plugins: [{LIGER}]\n")) == [("no-effect", "plugins[0]")]
    assert said(check("plugins: [shaking.Shaking, shaking.Shaking]\n")) == [("no-effect", "plugins[1]")]


def test_listing_cut_cross_entropy_turns_it_on_unless_it_is_turned_off(check) -> None:
    assert check(f"plugins: [{CUT}]\n").config.cut_cross_entropy is True
    assert "cut_cross_entropy: true" in dump_yaml(check(f"plugins: [{CUT}]\n").config)
    assert check(f"plugins: [{CUT}]\ncut_cross_entropy: false\n").config.cut_cross_entropy is False


def test_the_table_and_the_options_agree() -> None:
    assert all(shipped(plugin.entry) is plugin for plugin in SHIPPED.values())
    assert is_built(SHIPPED["liger"])
    assert not is_built(SHIPPED["nemo_gym"])


def test_options_of_a_plugin_of_ones_own_are_typed_and_come_back_from_yaml(check, tmp_path: Path) -> None:
    checked = check("plugins: [shaking.Shaking]\nshake: 2\nshake_mode: hard\nshake_inner: {depth: 3}\n")
    assert (found(checked), said(checked)) == ([], [])
    config = checked.config
    assert (config.shake, config.shake_mode, config.shake_inner.depth) == (2.0, "hard", 3)
    text = dump_yaml(config)
    assert next(iter(yaml.safe_load(text))) == "base_model"
    again = check_text(text, file=str(tmp_path / "other.yml"))
    assert (again.errors, config_hash(again.config)) == ((), config_hash(config))
    assert config_hash(check("plugins: [shaking.Shaking]\nshake: 3\n").config) != config_hash(check("plugins: [shaking.Shaking]\n").config)


def test_mistakes_in_them_are_told_as_in_any_option(check) -> None:
    checked = check("plugins: [shaking.Shaking]\nshak: 1\nshake: -1\nshake_mode: sofd\nshake_inner: {dept: 2}\n")
    assert found(checked) == [
        ("unknown-key", "shak", 5),
        ("out-of-range", "shake", 6),
        ("unknown-name", "shake_mode", 7),
        ("unknown-key", "shake_inner.dept", 8),
    ]
    assert [problem.suggestion for problem in checked.errors] == ["shake", None, "soft", "depth"]
    assert found(check("plugins: [shaking.Shaking]\nshake: much\n")) == [("wrong-type", "shake", 5)]


def test_a_validator_that_refuses_or_breaks_is_told_and_no_traceback(check) -> None:
    (refused,) = check("plugins: [shaking.Shaking]\nshake: 7\n").errors
    assert (refused.path, refused.line, refused.message) == ("shake", 5, "shake: seven is taken")
    (broken,) = check("plugins: [shaking.Shaking]\nshake: 8\n").errors
    assert (broken.code, broken.path) == ("plugin", "plugins")
    assert "KeyError" in broken.message


def test_without_the_entry_its_options_are_unknown_and_nothing_is_imported(check, tmp_path: Path) -> None:
    (tmp_path / "shaking.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    assert found(check("shake: 2\n")) == [("unknown-key", "shake", 4)]


def test_keys_of_a_plugin_that_cannot_be_loaded_are_not_called_unknown(check, tmp_path: Path) -> None:
    (tmp_path / "shaking.py").write_text("import no_such_package\n", encoding="utf-8")
    assert found(check("plugins: [shaking.Shaking]\nshake: 2\nlora_rr: 8\n")) == [
        ("plugin", "plugins[0]", 4),
        ("unknown-key", "lora_rr", 6),
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("lora_r: int = 8", "is one of the recipe's already"),
        ("model_type: str = ''", "is one of the recipe's already"),
        ("place: __import__('pathlib').Path | None = None", "a type that YAML has not"),
        ("deep: list[dict[str, set[int]]] = []", "a type that YAML has not"),
    ],
)
def test_an_option_that_no_recipe_could_hold_is_refused(check, tmp_path: Path, field: str, message: str) -> None:
    (tmp_path / "shaking_options.py").write_text(
        f"from pydantic import BaseModel\n\nclass Options(BaseModel):\n    {field}\n", encoding="utf-8"
    )
    (problem,) = check("plugins: [shaking.Shaking]\n").errors
    assert problem.path == "plugins[0]"
    assert message in problem.message


def test_two_plugins_cannot_have_one_option(check, tmp_path: Path) -> None:
    (tmp_path / "second.py").write_text(PLUGIN, encoding="utf-8")
    (problem,) = check("plugins: [shaking.Shaking, second.Shaking]\n").errors
    assert problem.path == "plugins[1]"
    assert "shaking.Shaking already" in problem.message


def test_explain_and_schema_know_them(check) -> None:
    model = type(check("plugins: [shaking.Shaking]\n").config)
    entry = explanation("shake", model)
    assert (entry.type, entry.default, entry.description, entry.supported) == ("a number, at least 0", 0.0, "How much to shake.", True)
    assert "plugin" in entry.effect
    properties = json.loads(json.dumps(json_schema(model)))["properties"]
    assert properties["shake"]["minimum"] == 0
    assert "lora_r" in properties
