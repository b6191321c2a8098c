"""Whatever is wrong with a recipe, checking it ends in problems with places, never in an exception."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config.load import check_text
from runtime.config.shape import options
from runtime.config.spelling import nearest

RECIPE: dict[str, Any] = {
    "base_model": "org/model",
    "datasets": [{"path": "rows.jsonl", "type": "chat_template", "split": "train"}, {"path": "b", "type": {"format": "{instruction}"}}],
    "val_set_size": 0.05,
    "sequence_len": 2048,
    "sample_packing": True,
    "adapter": "qlora",
    "load_in_4bit": True,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_target_modules": ["q_proj", "v_proj"],
    "micro_batch_size": 2,
    "learning_rate": 0.0002,
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.1,
    "special_tokens": {"pad_token": "<pad>"},
    "launch": {"gpus": "A100:8", "publish": {"merge": True}},
}
NAMES = [path for path, _, _ in options()]
TOP = [name for name in NAMES if "." not in name]
JUNK = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        2.5,
        1e30,
        float("nan"),
        float("inf"),
        "",
        "x",
        "1e-5",
        "no",
        "a: b",
        "{{ x }}",
        [],
        [None],
        [1],
        ["x"],
        [[1]],
        {},
        {"a": 1},
        {1: 2},
        {"type": "x"},
        [{}],
        [{"path": "a"}],
        10**30,
    ]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, item in inner:
        found += _places(item, (*path, key))
    return found


PLACES = _places(RECIPE)


def _changed(place: tuple[Any, ...], kind: str, junk: Any) -> dict[str, Any]:
    values = copy.deepcopy(RECIPE)
    holder: Any = values
    for part in place[:-1]:
        holder = holder[part]
    last = place[-1]
    if kind == "replace":
        holder[last] = junk
    elif kind == "remove" or isinstance(holder, list):
        del holder[last]
    elif kind == "misspell":
        holder[f"{last}x"] = holder.pop(last)
    else:
        holder[last] = {str(last): holder[last]}
    return values


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    place=st.sampled_from(PLACES),
    kind=st.sampled_from(["replace", "remove", "misspell", "nest"]),
    junk=JUNK,
    extra=st.sampled_from(TOP),
    value=JUNK,
    override=st.sampled_from(["", "x", "[1", "{a: 1}", "3"]),
)
def test_a_recipe_changed_anywhere_is_judged_with_places(
    place: tuple[Any, ...], kind: str, junk: Any, extra: str, value: Any, override: str
) -> None:
    values = _changed(place, kind, junk)
    values.setdefault(extra, value)
    text = yaml.safe_dump(values, sort_keys=False)
    checked = check_text(text, file="r.yml", overrides=[f"{extra}={override}"] if override else [])
    assert (checked.config is None) == bool(checked.errors)
    for problem in (*checked.errors, *checked.warnings):
        assert problem.message
        assert problem.where
        assert problem.line is not None or problem.place or problem.code == "missing", problem


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.sampled_from([place for place in PLACES if isinstance(place[-1], str)]))
def test_a_misspelt_key_is_named_at_its_line(place: tuple[Any, ...]) -> None:
    text = yaml.safe_dump(_changed(place, "misspell", None), sort_keys=False)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if f"{place[-1]}x:" in row)
    found = [problem for problem in check_text(text, file="r.yml").errors if problem.code == "unknown-key"]
    assert [(problem.line, problem.suggestion) for problem in found] == [(line, place[-1])]


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_at_all_is_judged(text: str) -> None:
    assert check_text(text, file="r.yml").errors


def test_every_option_is_its_own_nearest_name() -> None:
    assert [name for name in TOP if nearest(name, TOP) != name] == []
