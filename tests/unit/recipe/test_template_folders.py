"""Templates that build on others find them in their folders and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.recipe.load import load_recipe
from launcher.recipe.template import render_template
from launcher.recipe.template_folders import template_folders
from runtime.config.problem import UserError
from runtime.config.resources import data_dir


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "layout.jinja").write_text("seed: {% block seed %}1{% endblock +%}\n")
    (tmp_path / "secret.jinja").write_text("secret: 1\n")
    (folder / "link.jinja").symlink_to(tmp_path / "secret.jinja")
    (folder / "notes.txt").write_text("private: 1\n")
    return folder


def rendered(text: str, *folders: Path) -> str:
    return render_template(text, file="r.yml", variables={}, folders=folders)


def test_a_template_builds_on_another(own: Path) -> None:
    assert rendered('{% extends "layout.jinja" %}{% block seed %}2{% endblock %}', own) == "seed: 2\n"


@pytest.mark.parametrize(
    "name", ["../secret.jinja", "/etc/hostname", "link.jinja", "notes.txt", "none.jinja", "shipped/../secret.jinja", "."]
)
def test_nothing_outside_of_the_folders_is_read(own: Path, name: str) -> None:
    for folders in ((own,), (own, data_dir("templates"))):
        with pytest.raises(UserError) as caught:
            rendered(f'{{% include "{name}" %}}', *folders)
        assert (caught.value.problems[0].code, caught.value.problems[0].line) == ("missing-file", 1)


@pytest.mark.parametrize(
    "text",
    ["{{ self.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ gpu.__init__.__globals__ }}", "{{ cycler.__init__.__globals__.os }}"],
)
def test_attributes_lead_nowhere(own: Path, text: str) -> None:
    with pytest.raises(UserError):
        rendered(text, own)


def test_a_template_that_builds_on_itself_is_refused(own: Path) -> None:
    (own / "loop.jinja").write_text('{% include "loop.jinja" %}')
    with pytest.raises(UserError, match="builds on itself"):
        rendered('{% include "loop.jinja" %}', own)


def test_a_mistake_in_a_template_is_placed_where_it_is(own: Path) -> None:
    (own / "wrong.jinja").write_text("a: 1\nb: {{ nothing }}\n")
    (own / "broken.jinja").write_text("a: 1\n\nb: {{ nothing\n")
    for name, line in (("wrong", 2), ("broken", 3)):
        with pytest.raises(UserError) as caught:
            rendered(f'{{% extends "{name}.jinja" %}}', own)
        problem = caught.value.problems[0]
        assert (problem.file, problem.line) == (str(own / f"{name}.jinja"), line)


def test_the_folder_of_the_environment_serves_recipes_too(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "r.yml"
    recipe.write_text("{% include 'layout.jinja' %}\nbase_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: x\n    type: alpaca\n")
    with pytest.raises(UserError, match=r"layout\.jinja"):
        load_recipe(recipe)
    monkeypatch.setenv("LAUNCHER_TEMPLATES", str(own))
    config = load_recipe(recipe).checked.config
    assert config is not None
    assert config.seed == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert template_folders(environment={}) == (data_dir("templates"),)
    for own, environment in ((tmp_path / "none", {}), (None, {"LAUNCHER_TEMPLATES": str(tmp_path / "none")})):
        with pytest.raises(UserError, match="no such folder"):
            template_folders(own, environment=environment)
