"""A recipe file becomes a checked config."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.recipe.load import load_recipe
from runtime.config.problem import UserError

PLAIN = "base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\n"


def test_a_plain_recipe_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_text(PLAIN)
    recipe = load_recipe(file, sets=["seed=3"])
    assert recipe.text == PLAIN
    assert recipe.checked.config is not None
    assert recipe.checked.config.seed == 3


def test_a_template_is_rendered_first(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_text(PLAIN + "micro_batch_size: {{ rows }}\n")
    recipe = load_recipe(file, variables={"rows": 4})
    assert recipe.checked.config is not None
    assert recipe.checked.config.micro_batch_size == 4
    with pytest.raises(UserError, match="rows"):
        load_recipe(file)


def test_problems_are_kept_and_not_raised(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_text(PLAIN + "a_key: 1\n")
    recipe = load_recipe(file)
    assert [(problem.file, problem.line) for problem in recipe.checked.errors] == [(str(file), 6)]
    with pytest.raises(UserError):
        load_recipe(tmp_path / "none.yml")
