"""Whatever is wrong with a recipe, checking it ends in problems with places, never in an exception.

Recipes are drawn from the schema itself: any options with values that the schema takes. One slip is made in each, and the problem must stand at its line.
`MUTATIONS=50000 pytest tests/unit/config/test_mutations.py` looks further than CI does.
"""

from __future__ import annotations

import copy
import os
import random
import string
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_origin

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.config.load import Checked, check_text
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import Model, literals, members, section_of
from runtime.config.spelling import nearest

EXAMPLES = int(os.environ.get("MUTATIONS", "2000"))
REQUIRED: dict[str, Any] = {"base_model": "org/model", "learning_rate": 0.0002, "datasets": [{"path": "rows.jsonl", "type": "alpaca"}]}
# Values of every kind a recipe can hold. No number in quotes: those are read as numbers.
PLAIN: list[Any] = [
    True,
    False,
    1,
    3,
    0.5,
    0.25,
    7.5,
    -1,
    -0.5,
    10**9,
    "x",
    "steps",
    "linear",
    "a: b",
    "# no comment",
    [],
    ["q_proj"],
    [1, 2],
    [[0, 4]],
    [0.5],
]
PLAIN += [{}, {"a": 1}, {"zz": "y"}, {0: "20GiB"}, {"zz": ["y"]}, {"zz": {"y": [None]}}, float("inf"), float("nan")]
JUNK: list[Any] = [
    *PLAIN,
    None,
    0,
    2.5,
    1e30,
    10**30,
    "",
    "1e-5",
    "no",
    "{{ x }}",
    [None],
    [{}],
    [{"path": "a"}],
    {1: 2},
    {"type": "x"},
    "é🚀",
    "a\nb\n",
]

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Values that one option takes, and values that it does not."""

    right: tuple[Any, ...]
    wrong: tuple[Any, ...]


@cache
def kinds(model: Model, name: str) -> Kinds:
    """The plain values that option `name` of a section takes and refuses, by the section's own word."""
    needed = {key: "x" for key, info in model.model_fields.items() if info.is_required()} | (REQUIRED if model is TrainingConfig else {})
    if "modules" in needed:
        needed |= {"modules": ["q_proj"], "lr": 0.1}
    right, wrong = [], []
    for value in [*PLAIN, *literals(model.model_fields[name].annotation)]:
        try:
            model.model_validate({**needed, name: value})
            right.append(value)
        except ValidationError:
            # Numbers as keys are read as text where keys are text, and `no` as a word where words are taken.
            if value != {0: "20GiB"} and not (isinstance(value, bool) and literals(model.model_fields[name].annotation)):
                wrong.append(value)
    return Kinds(tuple(right), tuple(wrong))


TOP = [name for name, info in TrainingConfig.model_fields.items() if name not in ("strict", "plugins", "datasets", "test_datasets")]


def recipe(chance: random.Random, size: int) -> dict[str, Any]:
    """A recipe of about `size` options in any order, with sections that hold some of theirs; one in ten is an example that ships."""
    if chance.random() < 0.1:
        return copy.deepcopy(chance.choice(EXAMPLE_RECIPES))
    values: dict[str, Any] = dict(REQUIRED)
    rows = section_of(TrainingConfig, "datasets")
    values["datasets"] = [_section(chance, rows, {"path": "rows.jsonl", "type": "alpaca"}) for _ in range(chance.randint(1, 2))]
    for name in chance.sample(TOP, size):
        section = section_of(TrainingConfig, name)
        if section is not None and not any(info.is_required() for info in section.model_fields.values()) and chance.random() < 0.7:
            inner = _section(chance, section, {})
            listed = any(get_origin(member) is list for member in members(TrainingConfig.model_fields[name].annotation))
            values[name] = [inner] if listed else inner
        elif section is None and (right := kinds(TrainingConfig, name).right):
            values[name] = chance.choice(right)
    return {name: values[name] for name in chance.sample(list(values), len(values))}


def _section(chance: random.Random, model: Model | None, start: dict[str, Any]) -> dict[str, Any]:
    assert model is not None
    names = [name for name in model.model_fields if section_of(model, name) is None]
    chosen = chance.sample(names, min(len(names), chance.randint(0, 5)))
    return start | {name: chance.choice(right) for name in chosen if (right := kinds(model, name).right)}


EXAMPLE_RECIPES = [
    values
    for file in sorted((Path(__file__).parents[3] / "examples").glob("*.yml"))
    if isinstance(values := yaml.safe_load(file.read_text(encoding="utf-8")), dict)
]


def text_of(values: dict[str, Any], *, flow: bool = False) -> str:
    return "# a recipe\n\n" + yaml.dump(
        values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, default_flow_style=None if flow else False, width=10_000
    )


def line_of(text: str, path: Path_) -> int:
    """The line that the key or entry at `path` stands on, as another reader of YAML says."""
    node: Any = yaml.compose(text, Loader=yaml.CSafeLoader)
    line = 0
    for part in path:
        if isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
        else:
            key, node = next((key, child) for key, child in node.value if key.value == str(part))
            line = key.start_mark.line
    return int(line) + 1


def placed(values: dict[str, Any]) -> list[tuple[Path_, Model]]:
    """Every key of a recipe that is an option, with the section it is in."""
    return list(_placed(values, TrainingConfig, ()))


def _placed(values: dict[str, Any], model: Model, path: Path_) -> Any:
    for name, value in values.items():
        if name not in model.model_fields:
            continue
        yield (*path, name), model
        section = section_of(model, name)
        if section is not None:
            for at, item in (
                [((name,), value)]
                if isinstance(value, dict)
                else [((name, index), item) for index, item in enumerate(value)]
                if isinstance(value, list)
                else []
            ):
                if isinstance(item, dict):
                    yield from _placed(item, section, (*path, *at))


def slip(name: str, chance: random.Random) -> str:
    """The name with one letter lost, doubled, changed or added, or two swapped."""
    at = chance.randrange(len(name))
    letter = chance.choice(string.ascii_lowercase + "_")
    return chance.choice(
        [name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name[:at] + letter + name[at + 1 :], name[:at] + letter + name[at:]]
        + [name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]] * (at > 0)
    )


def _holder(values: Any, path: Path_) -> Any:
    for part in path[:-1]:
        values = values[part]
    return values


def _put(values: dict[str, Any], path: Path_, key: str, value: Any) -> dict[str, Any]:
    """The recipe with `key: value` where the option at `path` was."""
    changed = copy.deepcopy(values)
    holder = _holder(changed, path)
    items = [(key, value) if name == path[-1] else (name, item) for name, item in holder.items()]
    holder.clear()
    holder.update(items)
    return changed


def judged(values: dict[str, Any], *, flow: bool = False) -> tuple[str, Checked]:
    """The text of a recipe and what checking it finds, all of it with places."""
    text = text_of(values, flow=flow)
    checked = check_text(text, file="r.yml")
    assert (checked.config is None) == bool(checked.errors)
    for problem in (*checked.errors, *checked.warnings):
        assert problem.message.isprintable()
        assert problem.where
        assert problem.line is not None or problem.code == "missing", problem
    return text, checked


SUGGESTED: Counter[str] = Counter()


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(0, 30),
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["misspell", "remove", "retype", "nest", "junk"]),
    flow=st.booleans(),
)
def test_one_slip_in_a_recipe_is_told_at_its_line(size: int, seed: int, kind: str, flow: bool) -> None:
    chance = random.Random(seed)
    base = recipe(chance, size)
    path, model = chance.choice(placed(base))
    name = str(path[-1])
    if kind == "misspell":
        wrong = slip(name, chance)
        known = [*model.model_fields, *(RENAMED | ALIASES if model is TrainingConfig else ())]
        if not wrong or wrong in known or wrong in _holder(base, path):
            return
        text, checked = judged(_put(base, path, wrong, _holder(base, path)[name]), flow=flow)
        line = line_of(text, (*path[:-1], wrong))
        found = [problem for problem in checked.errors if problem.line == line and problem.path.endswith(wrong)]
        assert [problem.code for problem in found] == ["unknown-key"], (wrong, checked.errors)
        SUGGESTED["right" if found[0].suggestion == name else "other"] += 1
    elif kind == "remove":
        changed = copy.deepcopy(base)
        del _holder(changed, path)[name]
        _, checked = judged(changed, flow=flow)
        if model.model_fields[name].is_required():
            assert [problem.code for problem in checked.errors if problem.path.endswith(name)] == ["missing"]
    elif kind == "retype":
        if not (refused := kinds(model, name).wrong):
            return
        text, checked = judged(_put(base, path, name, chance.choice(refused)), flow=flow)
        first = line_of(text, path)
        codes = {problem.code for problem in checked.errors if problem.line is not None and first <= problem.line <= first + 3}
        assert codes & {"wrong-type", "out-of-range", "unknown-name", "unknown-key", "missing"}, (path, text, checked.errors)
    elif kind == "nest":
        inner = chance.choice(["no_such_option", *list(TrainingConfig.model_fields)])
        if inner in model.model_fields and model is not TrainingConfig:
            return
        text, checked = judged(_put(base, path, name, {"zz_not_here": {inner: _holder(base, path)[name]}}), flow=flow)
        if any(member in (Any, dict) or str(member).startswith("dict[str") for member in members(model.model_fields[name].annotation)):
            return
        first = line_of(text, path)
        assert any(problem.line is not None and first <= problem.line <= first + 2 for problem in checked.errors), (
            path,
            text,
            checked.errors,
        )
    else:
        judged(_put(base, path, name, chance.choice(JUNK)), flow=flow)


def test_a_slip_of_one_letter_suggests_the_name_that_was_meant() -> None:
    chance = random.Random(0)
    known = [*TrainingConfig.model_fields, *RENAMED, *ALIASES]
    slips = [
        (name, wrong)
        for name in chance.choices(list(TrainingConfig.model_fields), k=1000)
        if (wrong := slip(name, chance)) not in ("", *known)
    ]
    assert len(slips) > 500
    right = sum(nearest(wrong, known) == name for name, wrong in slips)
    assert right / len(slips) >= 0.98
    if SUGGESTED:
        assert SUGGESTED["right"] / SUGGESTED.total() >= 0.98


@settings(max_examples=EXAMPLES // 8, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(TOP),
    value=st.sampled_from(["", "x", "[1", "{a: 1}", "3", "~", "1e5", "é", "[{}]"]),
    inside=st.sampled_from(["", "[0]", ".x", "[0].path", "[9]", "[", "..", ".0"]),
)
def test_anything_laid_over_a_recipe_is_judged_at_its_place(seed: int, name: str, value: str, inside: str) -> None:
    override = f"{name}{inside}={value}"
    checked = check_text(text_of(recipe(random.Random(seed), 8)), file="r.yml", overrides=[override])
    assert (checked.config is None) == bool(checked.errors)
    for problem in checked.errors:
        assert problem.line is not None or problem.place == f"--set {override}" or problem.code == "missing", problem


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_at_all_is_judged(text: str) -> None:
    assert check_text(text, file="r.yml").errors


def test_every_option_is_its_own_nearest_name() -> None:
    assert [name for name in TrainingConfig.model_fields if nearest(name, TrainingConfig.model_fields) != name] == []
