"""The recipes of examples/recipes: valid as people write them, and small enough for the card their first line names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.rows import UNKNOWN
from launcher.recipe.load import load_recipe

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yml"))

# Warnings that a recipe raises on purpose, by the option they are about: old spellings, and a list of layers beside all layers.
WARNED = {
    "code-llama/qlora-34b": {"model_type"},
    "falcon/qlora-7b": {"model_type"},
    "gemma-3/lora-1b": {"model_type"},
    "llama-2/qlora-7b": {"model_type"},
    "phi/full-2": {"model_type"},
    "phi/lora-4-mini-liger": {"liger_swiglu"},
    "smollm/lora-360m-neftune": {"noisy_embedding_alpha", "evaluation_strategy"},
}

# GiB a run can use of each GB on the box: that of a T4, the least of the cards in launcher/data/gpus.csv.
USABLE = 0.91


def name_of(recipe: Path) -> str:
    return str(recipe.relative_to(FOLDER).with_suffix(""))


def test_there_are_recipes_of_many_families() -> None:
    assert len(RECIPES) >= 40
    assert len({recipe.parent.name for recipe in RECIPES}) >= 15


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_recipe_is_valid_and_its_warnings_are_known(recipe: Path) -> None:
    checked = load_recipe(recipe).checked
    assert [str(problem) for problem in checked.errors] == []
    assert {problem.path for problem in checked.warnings} == WARNED.get(name_of(recipe), set())


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_recipe_says_what_it_is_and_fits_the_card_it_names(recipe: Path) -> None:
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    size = re.search(r"^# [A-Z].*\bcard of (\d+) GB\b.*\.$", first)
    assert size is not None, "the first line says in a sentence what the recipe is and what card it is meant for"
    config = load_recipe(recipe).checked.config
    assert config is not None
    model = find_model(config.base_model, environment={"HF_HOME": "/nowhere"})
    # Cards this large hold everything, so that the figure does not depend on a verdict.
    made = estimate(config, model, cards(parse_gpus("B300")), UNKNOWN)
    assert made.memory.held.value < int(size[1]) * USABLE, f"needs {made.memory.held.value:.1f} GiB"
