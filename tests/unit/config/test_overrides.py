"""`--set` goes through the same checks as the file, and its problems say so."""

from __future__ import annotations

import pytest

from runtime.config.load import Checked, check_text

RECIPE = "base_model: org/model\ndatasets:\n  - path: a.jsonl\n    type: alpaca\nlearning_rate: 1e-5\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"


def checked(*overrides: str) -> Checked:
    return check_text(RECIPE, file="r.yml", overrides=overrides)


def test_values_are_laid_over_the_file() -> None:
    config = checked(
        "lora_r=32",
        "datasets[0].path=b.jsonl",
        "datasets[0].split=train[:5]",
        "datasets[1].path=c.jsonl",
        "datasets[1].type=completion",
        "special_tokens.pad_token=<pad>",
        "optim_args={a: 1}",
        "datasets.0.name=first",
        "test_datasets.0.path=d.jsonl",
        "test_datasets.0.type=alpaca",
        "max_memory.0=20GiB",
        "device_map=auto",
    ).config
    assert config is not None
    assert config.datasets is not None
    assert config.special_tokens is not None
    assert config.datasets[0].name == "first"
    assert [source.path for source in config.test_datasets or ()] == ["d.jsonl"]
    assert config.max_memory == {0: "20GiB"}
    assert (config.lora_r, config.special_tokens.pad_token, config.optim_args) == (32, "<pad>", {"a": 1})
    assert [(source.path, source.split, source.type) for source in config.datasets] == [
        ("b.jsonl", "train[:5]", "alpaca"),
        ("c.jsonl", None, "completion"),
    ]


def test_an_empty_value_unsets() -> None:
    config = checked("adapter=", "lora_r=", "lora_alpha=", "lora_target_linear=").config
    assert config is not None
    assert config.adapter is None


@pytest.mark.parametrize(
    ("override", "code", "path"),
    [
        ("lora_r=0", "out-of-range", "lora_r"),
        ("lora_r=many", "wrong-type", "lora_r"),
        ("lora_rr=1", "unknown-key", "lora_rr"),
        ("datasets[0].tpye=x", "unknown-key", "datasets[0].tpye"),
        ("datasets[4].path=x", "out-of-range", "datasets[4]"),
        ("datasets.4.path=x", "out-of-range", "datasets[4]"),
        ("datasets.0.tpye=x", "unknown-key", "datasets[0].tpye"),
        ("datasets.99999999999999999999.path=x", "out-of-range", "datasets[999999999]"),
        ("datasets.0.path=[1", "yaml", ""),
        ("lora_r.0=1", "wrong-type", "lora_r.0"),
        ("lora_r.x=1", "wrong-type", "lora_r.x"),
        ("lora_r[0]=1", "wrong-type", "lora_r[0]"),
        ("lora_r", "yaml", ""),
        ("=3", "yaml", ""),
        ("[0]=3", "yaml", ""),
        ("lora_r=[1", "yaml", ""),
        ("warmup_ratio=2", "out-of-range", "warmup_ratio"),
    ],
)
def test_its_problems_point_at_the_words_that_were_typed(override: str, code: str, path: str) -> None:
    problems = checked(override).errors
    assert [(problem.code, problem.path, problem.place, problem.line) for problem in problems] == [(code, path, f"--set {override}", None)]


def test_rules_hold_between_the_file_and_the_command_line() -> None:
    assert [(problem.code, problem.path) for problem in checked("warmup_steps=5", "warmup_ratio=0.1").errors] == [
        ("conflict", "warmup_ratio")
    ]


def test_old_names_work_there_too() -> None:
    result = checked("noisy_embedding_alpha=5")
    assert result.config is not None
    assert result.config.neftune_noise_alpha == 5.0
    assert result.warnings[0].place == "--set noisy_embedding_alpha=5"
