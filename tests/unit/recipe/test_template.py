"""Recipes that are templates: what counts as one, and what is filled in."""

from __future__ import annotations

import pytest

from launcher.recipe.target import read_target
from launcher.recipe.template import is_template, read_variables, render_template
from runtime.config.problem import UserError


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("r.yml", "base_model: x\n", False),
        ("r.yml.j2", "base_model: x\n", True),
        ("r.yml", "base_model: {{ model }}\n", True),
        ("r.yml", "{% if gpu.count > 1 %}\nddp: true\n{% endif %}\n", True),
        ("r.yml", "chat_template_jinja: '{{ messages }}'\n", False),
        ("r.yml", "chat_template_jinja: |\n  {% for m in messages %}\n\n  {{ m }}\n  {% endfor %}\nseed: 1\n", False),
        ("r.yml", "chat_template_jinja: |\n  {{ m }}\nseed: {{ seed }}\n", True),
        ("r.yml", "datasets:\n  - path: a\n    chat_template: |\n      {{ m }}\n    type: x\n", False),
        ("r.yml", "datasets:\n  - chat_template: |\n      {{ m }}\n    type: {{ t }}\n", True),
        ("r.yml", "datasets:\n  - type:\n      format: '{{instruction}}'\n", False),
        ("r.yml", "# about {{ this }}\nseed: 1\n", False),
        ("r.yml", "type: {format: '{instruction}'}\n", False),
    ],
)
def test_a_recipe_is_a_template_when_it_says_so(name: str, text: str, expected: bool) -> None:
    assert is_template(name, text) is expected


def test_variables_and_the_target_are_filled_in() -> None:
    text = "base_model: {{ model }}\nmicro_batch_size: {{ 4 if gpu.count > 1 else 1 }}\nwandb_name: {{ title | yaml }}\n"
    rendered = render_template(text, file="r.yml", variables=read_variables(["model=org/m", "title='a: b'"]), target=read_target("H100:8"))
    assert rendered == 'base_model: org/m\nmicro_batch_size: 4\nwandb_name: "a: b"\n'


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: 1\nb: {{ size }}\n", "missing", 2),
        ("a: 1\nb: {{ gpu.count }}\n", "missing", 2),
        ("a: 1\nb: {{ size\n", "yaml", 2),
        ("a: 1\n{% if x %}\n", "yaml", 2),
        ("b: {{ 1 / 0 }}\n", "yaml", 1),
        ("b: {{ ''.__class__.__mro__ }}\n", "yaml", 1),
    ],
)
def test_what_cannot_be_rendered_is_a_problem_with_its_line(text: str, code: str, line: int) -> None:
    with pytest.raises(UserError) as caught:
        render_template(text, file="r.yml", variables={})
    problem = caught.value.problems[0]
    assert (problem.code, problem.file, problem.line) == (code, "r.yml", line)


def test_a_missing_variable_says_how_to_give_it() -> None:
    with pytest.raises(UserError) as caught:
        render_template("b: {{ size }}\n", file="r.yml", variables={})
    assert caught.value.problems[0].fix == "Give it a value: --var size=…"


def test_variables_are_read_as_yaml_and_all_wrong_ones_are_named() -> None:
    assert read_variables(["a=1e-4", "b=[1, 2]", "c=x=y"]) == {"a": 1e-4, "b": [1, 2], "c": "x=y"}
    with pytest.raises(UserError) as caught:
        read_variables(["a", "1b=3", "c=[1"])
    assert [problem.place for problem in caught.value.problems] == ["--var a", "--var 1b=3", "--var c=[1"]


def test_a_target_is_a_kind_and_a_count() -> None:
    assert read_target("A100-80GB:8") == {"name": "A100-80GB", "count": 8}
    assert read_target("H100") == {"name": "H100", "count": 1}
    assert read_target(None) == {}
    for wrong in ("", ":3", "H100:0", "H100:x", "H100:"):
        with pytest.raises(UserError):
            read_target(wrong)


def test_a_text_that_no_memory_holds_is_a_mistake_in_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise MemoryError

    monkeypatch.setattr("jinja2.Template.render", full)
    with pytest.raises(UserError, match="memory does not hold"):
        render_template("a: 1\n", file="r.yml.j2", variables={})
