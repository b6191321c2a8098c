"""A run keeps the plugins it was started with, and a plan notices when they change."""

from __future__ import annotations

PLUGIN = """\
from pydantic import BaseModel
from runtime.plugins import Plugin

class Options(BaseModel):
    shake: int = 0

class Shaking(Plugin):
    def get_input_args(self):
        return Options
"""
LISTED = "plugins: [shaking.Shaking]\nshake: 3\n"


def test_a_run_goes_on_with_its_copy_when_the_original_is_gone(place):
    (place.folder / "shaking.py").write_text(PLUGIN)
    place.recipe(steps=8, more=LISTED)
    assert place.data("up", "recipe.yml", "-y", "--cloud", "local", "--name", "first")["steps"] == 8
    kept = place.state / "runs" / "first"
    assert (kept / "plugins" / "shaking.py").read_text() == PLUGIN
    assert "shake: 3" in (kept / "config.yml").read_text()
    (place.folder / "shaking.py").unlink()
    refused = place.launcher("up", "recipe.yml", "-y", "--cloud", "local")
    assert refused.returncode == 2
    assert "recipe.yml" in refused.stderr
    assert "no module 'shaking'" in refused.stderr
    assert place.launcher("validate", str(kept / "config.yml")).returncode == 0


def test_a_plan_finds_the_plugins_beside_its_recipe_and_pins_them(place):
    (place.folder / "recipes").mkdir()
    (place.folder / "recipes" / "shaking.py").write_text(PLUGIN)
    place.recipe("recipes/recipe.yml", steps=8, more=LISTED)
    assert place.launcher("plan", "recipes/recipe.yml", "--cloud", "local", "--name", "planned", "-o", "plan.lock").returncode == 0
    assert place.data("up", "plan.lock", "-y")["run"] == "planned"
    (place.folder / "recipes" / "shaking.py").write_text(PLUGIN + "# changed\n")
    stale = place.launcher("up", "plan.lock", "-y")
    assert stale.returncode == 3
    assert "shaking.py has changed since" in stale.stderr
