"""YAML as people write it: positions, traps, and messages for what cannot be read."""

from __future__ import annotations

import pytest

from runtime.config.document import BrokenYamlError, read, read_value
from runtime.config.problem import Problem


def broken(text: str) -> Problem:
    with pytest.raises(BrokenYamlError) as caught:
        read(text, file="r.yml")
    assert caught.value.problem.code == "yaml"
    return caught.value.problem


def test_every_key_and_list_entry_has_its_line_and_column() -> None:
    document = read("a: 1\nb:\n  - c: 2\n    d: 3\n  - 4\n", file="r.yml")
    assert document.values == {"a": 1, "b": [{"c": 2, "d": 3}, 4]}
    places = {path: (position.line, position.column) for path, position in document.positions.items()}
    assert places == {("a",): (1, 1), ("b",): (2, 1), ("b", 0): (3, 5), ("b", 0, "c"): (3, 5), ("b", 0, "d"): (4, 5), ("b", 1): (5, 5)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2E6", 2e6),
        ("1.5e-4", 1.5e-4),
        ("+3e2", 300.0),
        ("'1e-5'", "1e-5"),
        ('"1e-5"', "1e-5"),
        ("1e-5x", "1e-5x"),
        ("e-5", "e-5"),
    ],
)
def test_a_number_with_an_exponent_is_a_number_unless_quoted(text: str, value: object) -> None:
    assert read(f"a: {text}\n", file="r.yml").values == {"a": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("0x10", 16),
        ("1_000", 1000),
        (".5", 0.5),
        (".inf", float("inf")),
        ("'no'", "no"),
    ],
)
def test_scalars_read_as_yaml_1_1_reads_them_except_times_and_dates(text: str, value: object) -> None:
    assert read(f"a: {text}\n", file="r.yml").values["a"] == value


def test_words_that_are_truth_values_stay_words_as_keys() -> None:
    assert read("no: 1\non: 2\n8: 3\n", file="r.yml").values == {"no": 1, "on": 2, 8: 3}


def test_anchors_and_merges_work_and_the_nearer_value_wins() -> None:
    document = read(
        "base: &b {x: 1, y: 2}\nmore: &m {y: 5, z: 6}\none:\n  <<: *b\n  y: 3\ntwo:\n  <<: [*b, *m]\nlist: [*b]\n", file="r.yml"
    )
    assert document.values["one"] == {"x": 1, "y": 3}
    assert document.values["two"] == {"x": 1, "y": 2, "z": 6}
    assert document.values["list"] == [{"x": 1, "y": 2}]


def test_a_key_written_twice_is_an_error_with_both_lines() -> None:
    problem = broken("a: 1\nb:\n  c: 1\n  c: 1\n")
    assert (problem.line, problem.column, problem.path) == (4, 3, "b.c")
    assert "line 3" in problem.message


def test_a_tab_is_named_as_what_it_is() -> None:
    problem = broken("a:\n  b: 1\n\tc: 2\n")
    assert problem.line == 3
    assert "tab" in problem.message
    assert "spaces" in problem.fix


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: b: c\n", 1, "second ':'"),
        ("a: 'open\n", 1, "quote"),
        ("a: [1, 2\nb: 3\n", 2, "closed"),
        ("a: *nowhere\n", 1, "anchor"),
        ("a: 1\n--- \nb: 2\n", 2, "second document"),
        ("a: 1\nb\n", 3, "':'"),
        ("- a\n- b\n", 1, "top level"),
        ("just text\n", 1, "top level"),
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("a: {{ size }}\n", 1, "list or a mapping"),
        ("a: &x\n  - *x\n", 2, "refers to"),
        ("a: %b\n", 1, "cannot start"),
        ("a:\n  b: 1\n c: 2\n", 3, "fit"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, line: int, said: str) -> None:
    problem = broken(text)
    assert said in problem.message, problem
    assert problem.line is not None
    assert abs(problem.line - line) <= 1


def test_a_control_character_is_named() -> None:
    assert "control" in broken("a: \x07\n").message or "character" in broken("a: \x07\n").message


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "expands" in broken("\n".join(lines)).message


def test_a_value_on_the_command_line_is_yaml() -> None:
    assert read_value("[1, 2e-5, no]", place="--set") == [1, 2e-5, False]
    assert read_value("", place="--set") is None
    with pytest.raises(BrokenYamlError):
        read_value("[1", place="--set")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 2000 + "]" * 2000,
        "a: " + "[" * 60 + "]" * 60,
        "a:\n" + "".join(" " * depth + "b:\n" for depth in range(1, 1500)),
        "a: \ud800\n",
    ],
)
def test_texts_that_are_no_recipe_by_far_are_refused_calmly(text: str) -> None:
    assert "deeply" in broken(text).message or "character" in broken(text).message
