"""What older recipes, and those of other tools, write in another way is read, or told with what is meant."""

from __future__ import annotations

import inspect

import pytest

from launcher.recipe.fix import with_current_names
from runtime.config.load import check_text
from runtime.config.renames import ELSEWHERE
from runtime.config.rules.arguments import ARGUMENTS
from runtime.config.rules.optimizing import SETTINGS
from runtime.config.schema import TrainingConfig

START = "base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\n"


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("gradient_checkpointing: unsloth", "gradient_checkpointing", "offload"),
        ("optimizer: adamw_hf", "optimizer", "adamw_torch"),
        ("optimizer: 'adamw_apex_fused'  # fast", "optimizer", "adamw_torch_fused"),
    ],
)
def test_a_value_that_is_gone_is_read_as_todays_and_rewritten(line: str, option: str, value: str) -> None:
    text = f"{START}{line}\nseed: 1\n"
    checked = check_text(text, file="r.yml")
    assert getattr(checked.config, option) == value
    assert [(problem.code, problem.line) for problem in checked.warnings] == [("renamed-value", 6)]
    better, count = with_current_names(text, checked.warnings)
    assert count == 1
    assert better == text.replace(line.split(": ")[1].split()[0].strip("'"), value)
    assert check_text(better, file="r.yml").warnings == ()


@pytest.mark.parametrize("name", ["gptq_groupsize", "gptq_model_v1", "sample_packing_seq_len_multiplier"])
def test_a_key_that_means_nothing_any_more_is_no_mistake(name: str) -> None:
    assert check_text(f"{START}{name}:\n", file="r.yml").warnings == ()
    checked = check_text(f"{START}{name}: 4\n", file="r.yml")
    assert checked.errors == ()
    assert [(problem.code, problem.path, problem.line) for problem in checked.warnings] == [("no-effect", name, 6)]


@pytest.mark.parametrize("words", ["full_shard auto_wrap", "full_shard,auto_wrap", "[full_shard, auto_wrap]"])
def test_fsdp_is_a_list_or_one_text(words: str) -> None:
    checked = check_text(f"{START}fsdp: {words}\n", file="r.yml")
    assert {problem.code for problem in checked.errors} <= {"unsupported"}
    assert checked.draft is not None
    assert checked.draft.fsdp == ["full_shard", "auto_wrap"]


def test_fsdp_of_an_unknown_word_is_an_error() -> None:
    assert [problem.code for problem in check_text(f"{START}fsdp: shard_all\n", file="r.yml").errors] == ["wrong-type"]


@pytest.mark.parametrize("source", ["allenai/c4", "{path: allenai/c4}", "[{path: allenai/c4}]"])
def test_one_source_of_plain_text_needs_no_list(source: str) -> None:
    checked = check_text(f"{START}max_steps: 5\npretraining_dataset: {source}\n", file="r.yml")
    assert checked.draft is not None
    assert [entry.path for entry in checked.draft.pretraining_dataset or ()] == ["allenai/c4"]


def test_a_wrong_key_of_one_source_stands_on_its_line() -> None:
    checked = check_text(f"{START}max_steps: 5\npretraining_dataset:\n  path: a/b\n  text_colum: body\n", file="r.yml")
    assert (9, "text_column") in [(problem.line, problem.suggestion) for problem in checked.errors]


@pytest.mark.parametrize(
    ("given", "loader"), [("ds_type: csv\n    data_files: a.x", "csv"), ("data_files: [a.parquet]", "parquet"), ("data_files: a", "json")]
)
def test_files_without_a_path_name_their_loader(given: str, loader: str) -> None:
    checked = check_text(f"base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - type: alpaca\n    {given}\n", file="r.yml")
    assert checked.config is not None
    assert checked.config.datasets is not None
    assert checked.config.datasets[0].path == loader


def test_names_of_other_tools_are_told_what_they_are_here() -> None:
    assert set(ELSEWHERE.values()) <= set(TrainingConfig.model_fields)
    assert not set(ELSEWHERE) & set(TrainingConfig.model_fields)
    for name, ours in ELSEWHERE.items():
        (problem,) = [problem for problem in check_text(f"{START}{name}: x\n", file="r.yml").errors if problem.path == name]
        assert (problem.suggestion, problem.line) == (ours, 6)


def test_a_section_of_what_stands_at_the_top_names_its_options() -> None:
    (problem,) = check_text(f"{START}lora:\n  r: 8\n", file="r.yml").errors
    assert problem.line == 6
    assert "lora_r" in problem.fix


@pytest.mark.parametrize(
    ("old", "new", "line", "fix"),
    [
        ("datasets:\n  - path: rows.jsonl\n    type: alpaca\n", "datasets: rows.jsonl\n", 3, "- path: rows.jsonl"),
        ("datasets:\n  - path: rows.jsonl\n    type: alpaca\n", "datasets:\n  path: rows.jsonl\n  type: alpaca\n", 3, "`- `"),
        ("  - path: rows.jsonl\n    type: alpaca\n", "  - rows.jsonl\n", 4, "`path: rows.jsonl`"),
        ("learning_rate", "special_tokens: <pad>\nlearning_rate", 2, "bos_token"),
        ("learning_rate", "bf16: 'true'\nlearning_rate", 2, "quotes"),
        ("learning_rate", "seed 42\nlearning_rate", 2, "key: value"),
    ],
)
def test_a_wrong_shape_says_the_right_one(old: str, new: str, line: int, fix: str) -> None:
    (problem,) = check_text(START.replace(old, new), file="r.yml").errors
    assert problem.line == line
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("wrong", "right"), [("load_in_4bi: true\nadapter: qlora", "load_in_4bit"), ("load_in_8bit: true\nadpter: lora", "adapter")]
)
def test_what_a_misspelt_key_was_meant_for_is_not_missed_too(wrong: str, right: str) -> None:
    text = f"{START}lora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n{wrong}\n"
    checked = check_text(text, file="r.yml")
    assert [problem.suggestion for problem in checked.errors] == [right]
    assert checked.warnings == ()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("reflection:chat", "unsupported"),
        ("gpteacher:chatml", "unsupported"),
        ("my_rows.prompts.load", "unsupported"),
        ("rewards.oai_gsm8k_transform", "unsupported"),
        ("alpaca_chat.load_qaa", "unknown-name"),
        ("alpaca:caht", "unknown-name"),
    ],
)
def test_styles_and_own_functions_are_no_misspelt_types(kind: str, code: str) -> None:
    checked = check_text(START.replace("type: alpaca", f"type: {kind}"), file="r.yml")
    assert [(problem.code, problem.line) for problem in checked.errors] == [(code, 5)]


@pytest.mark.train
def test_the_settings_of_schedules_are_those_of_transformers() -> None:
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "kwargs"}
    theirs = {kind.value: set(inspect.signature(made).parameters) - given for kind, made in TYPE_TO_SCHEDULER_FUNCTION.items()}
    ours = {name: set(known) for name, known in SETTINGS.items() if name in theirs}
    assert ours == {name: known for name, known in theirs.items() if name in ours}


@pytest.mark.train
def test_the_arguments_are_those_of_their_functions() -> None:
    from torch.utils.checkpoint import checkpoint
    from transformers import BitsAndBytesConfig

    bits = set(inspect.signature(BitsAndBytesConfig.__init__).parameters) - {"self", "kwargs", "load_in_4bit", "load_in_8bit"}
    assert set(ARGUMENTS["bnb_config_kwargs"]) == bits
    kept = set(inspect.signature(checkpoint).parameters) - {"function", "args", "kwargs", "context_fn"}
    assert kept <= set(ARGUMENTS["gradient_checkpointing_kwargs"])
