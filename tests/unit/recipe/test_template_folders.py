"""Templates that build on others find them in their folders and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from launcher.recipe.catalogue import Order, read_catalogue
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
    [
        "{{ self.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ gpu.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ lipsum.__globals__['os'].popen('touch pwned') }}",
        "{{ (gpu | attr('__class__')).__base__ }}",
        "{{ (1).__class__.__base__.__subclasses__() }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ ''.format_map.__self__.__class__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ environment }}",
        "{% import '/etc/passwd' as x %}",
        "{% include ['../secret.jinja', '/etc/hostname'] %}",
        "{% extends none %}",
        "{{ open('/etc/passwd').read() }}",
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' * 10 ** 3 * 10 ** 9 }}",
        "{{ [0] * 100000000 }}",
        "{{ 9 ** 9 ** 9 }}",
    ],
)
def test_a_hostile_template_gets_nowhere(own: Path, text: str) -> None:
    with pytest.raises(UserError) as caught:
        rendered(f"\n{text}", own, data_dir("templates"))
    assert caught.value.problems[0].file == "r.yml"


def test_products_of_ordinary_size_stay_possible(own: Path) -> None:
    assert rendered("{{ 4 * 2048 * 512 }} {{ 0.5 * 3 }} {{ '-' * 20 }} {{ 2 ** 20 }}", own) == f"4194304 1.5 {'-' * 20} 1048576"


WORST = "'\" #: - {b: [c\n\\ $(touch pwned) ${HOME} {{ 7 * 7 }}{% raw %} !!x &y *z \t\x7f\x85\u2028\u2029\ufeff☃\U0001f600"


@pytest.mark.parametrize(
    "text", [WORST, *WORST, "a: b", "a #b", "yes", "1e5", "0x1f", "~", "- a", "? a", "org/model", "", " a ", "2026-01-01"]
)
def test_filters_write_any_text_as_that_text(own: Path, text: str) -> None:
    template = (
        "a: {{ x | yaml }} # c\nb: {{ x | word }} # c\nc: {{ x | quoted }}\n# {{ x | line }}\nd:\n  - {{ {'k': x} | block | indent(4) }}\n"
    )
    written = render_template(template, file="r.yml", variables={"x": text}, folders=(own,))
    assert yaml.safe_load(written) == {"a": text, "b": text, "c": text, "d": [{"k": text}]}


def test_hostile_facts_and_data_are_values_of_the_recipe(own: Path) -> None:
    (own / "families").mkdir()
    size = {
        "instruct": WORST,
        "base": WORST + "b",
        "context": 512,
        "licence": WORST,
        "chat_template": "{{ " + WORST,
        "special_tokens": {"pad_token": WORST},
        "eot_tokens": [WORST],
        "adapts": WORST,
        "options": {"wandb_name": WORST},
        "methods": {"qlora": {"learning_rate": 0.1, "rank": 2}},
    }
    (own / "families" / "bad.yml").write_text(yaml.safe_dump({"title": WORST, "licence": WORST, "sizes": {WORST: size}}))
    data = {"path": WORST, "name": WORST, "type": "chat_template"}
    order = Order(
        family="bad",
        size=WORST,
        method="qlora",
        dataset=data,
        dataset_given=True,
        schema="s.json",
        target={},
        variables={"model": "ignored"},
    )
    catalogue = read_catalogue((own, data_dir("templates")))
    values = yaml.safe_load(catalogue.render(order))
    plain = yaml.safe_load(catalogue.render(replace(order, family="smollm", size="135m")))
    assert set(values) == (set(plain) - {"lora_target_linear"}) | {"special_tokens", "eot_tokens", "lora_target_modules", "wandb_name"}
    assert (values["base_model"], values["wandb_name"], values["lora_target_modules"]) == (WORST, WORST, WORST)
    assert (values["special_tokens"], values["eot_tokens"], values["datasets"]) == ({"pad_token": WORST}, [WORST], [data])


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
    named = load_recipe(recipe, templates=own).checked.config
    assert named is not None
    assert named.seed == 1
    monkeypatch.setenv("LAUNCHER_TEMPLATES", str(own))
    config = load_recipe(recipe).checked.config
    assert config is not None
    assert config.seed == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert template_folders(environment={}) == (data_dir("templates"),)
    for own, environment in ((tmp_path / "none", {}), (None, {"LAUNCHER_TEMPLATES": str(tmp_path / "none")})):
        with pytest.raises(UserError, match="no such folder"):
            template_folders(own, environment=environment)
