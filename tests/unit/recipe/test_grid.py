"""Which `--set` texts are one value, and which are several runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.recipe.grid import MOST, read_grid, require_one_run, split_values
from runtime.config.document import read_value
from runtime.config.problem import UserError


def values(text: str) -> list[str]:
    grid = read_grid([text])
    return [point.values[next(iter(grid.axes))] for point in grid.points] if grid.is_sweep else []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("learning_rate=1e-4,2e-4", ["1e-4", "2e-4"]),
        ("optimizer=adamw_torch, sgd", ["adamw_torch", "sgd"]),
        ("lora_target_modules=[q_proj],[q_proj,v_proj],null", ["[q_proj]", "[q_proj,v_proj]", "null"]),
        ("datasets.0.split=train[:10],train[10:20]", ["train[:10]", "train[10:20]"]),
        ('default_system_message="a, b","c"', ['"a, b"', '"c"']),
        ("default_system_message='it''s, so',no", ["'it''s, so'", "no"]),
        ("default_system_message=don't,do", ["don't", "do"]),
        ("rope_parameters={a: 1, b: '}'},{a: 2}", ["{a: 1, b: '}'}", "{a: 2}"]),
    ],
)
def test_commas_at_the_top_separate_runs(text: str, parts: list[str]) -> None:
    assert values(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate=1e-4",
        "learning_rate=",
        "lora_target_modules=[q_proj,v_proj]",
        'default_system_message="a, b"',
        r'default_system_message="say \", and go"',
        "bnb_config_kwargs={a: 1, b: 2}",
        "default_system_message=an [open, bracket",
        "default_system_message=a closing], bracket",
    ],
)
def test_a_comma_inside_a_value_is_part_of_it(text: str) -> None:
    grid = read_grid([text])
    assert not grid.is_sweep
    assert [point.sets for point in grid.points] == [(text,)]


def test_the_grid_is_every_combination_and_fixed_values_go_with_all() -> None:
    grid = read_grid(["lora_r=8,16", "max_steps=5", "learning_rate=1e-4,2e-4"])
    assert [dict(point.values) for point in grid.points] == [
        {"lora_r": "8", "learning_rate": "1e-4"},
        {"lora_r": "8", "learning_rate": "2e-4"},
        {"lora_r": "16", "learning_rate": "1e-4"},
        {"lora_r": "16", "learning_rate": "2e-4"},
    ]
    assert [point.number for point in grid.points] == [1, 2, 3, 4]
    assert grid.points[2].sets == ("max_steps=5", "lora_r=16", "learning_rate=1e-4")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["lora_target_modules=q_proj,v_proj"], "takes a list"),
        (["launch.gpus=A100:8,H100:8"], "takes a list"),
        (["learning_rate=1e-4,"], "there is nothing"),
        (["learning_rate=1e-4,0.0001"], "a value is there twice"),
        (["lora_r=8,16", "lora_r=4"], "given twice"),
        (["lora_r=8,16", "lora_r=4,5"], "given twice"),
        (["launch.max_cost_usd=1,2"], "for all runs together"),
        (["output_dir=a,b"], "a folder of its own"),
        ([f"seed={','.join(map(str, range(MOST + 1)))}"], f"has {MOST + 1} runs"),
    ],
)
def test_what_could_mean_two_things_is_refused(sets: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_grid(sets)


def test_a_command_that_looks_at_one_run_says_who_takes_several() -> None:
    require_one_run(["learning_rate=1e-4", 'default_system_message="a, b"'])
    with pytest.raises(UserError, match="'optimizer' has 2 values here") as caught:
        require_one_run(["seed=1", "optimizer=sgd,adafactor"])
    assert caught.value.problems[0].fix.endswith("""optimizer='"sgd,adafactor"'""")


def test_every_slip_is_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read_grid(["lora_r=8,", "lora_target_modules=a,b", "output_dir=a,b"])
    assert len(caught.value.problems) == 3


@given(
    st.lists(
        st.text(alphabet="ab,'\"[]{}: \\", max_size=12).map(lambda text: f'"{text.translate({34: None, 92: None})}"'),
        min_size=1,
        max_size=4,
    )
)
def test_quoted_texts_come_back_whole(texts: list[str]) -> None:
    parts = split_values(",".join(texts))
    assert parts == texts
    assert [read_value(part, place="") for part in parts] == [text[1:-1] for text in texts]
