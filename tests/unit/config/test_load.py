"""Recipes whole: what is read, what is reported, where."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.load import check_text, config_hash, dump_yaml, load_config
from runtime.config.problem import ExitCode, UserError

MINIMAL = """\
base_model: org/model
datasets:
  - path: rows.jsonl
    type: alpaca
learning_rate: 1e-5
"""


def found(text: str, *overrides: str) -> list[tuple[str, str, int | None]]:
    return [(problem.code, problem.path, problem.line) for problem in check_text(text, file="r.yml", overrides=overrides).errors]


def test_a_minimal_recipe_has_the_defaults_of_the_reference() -> None:
    config = check_text(MINIMAL, file="r.yml").config
    assert config is not None
    assert config.learning_rate == 1e-5
    assert config.datasets is not None
    assert (config.datasets[0].type, config.optimizer, config.sequence_len, config.bf16, config.launch.nodes) == (
        "alpaca",
        "adamw_torch_fused",
        512,
        "auto",
        1,
    )


def test_a_null_is_the_same_as_nothing() -> None:
    config = check_text(MINIMAL + "lora_r:\nshuffle_merged_datasets: null\nspecial_tokens:\n", file="r.yml").config
    assert config is not None
    assert config.shuffle_merged_datasets is True
    assert "lora_r" not in config.model_fields_set


def test_unknown_keys_at_every_level_name_the_line_and_the_nearest_name() -> None:
    text = (
        MINIMAL.replace("type: alpaca", "tpye: alpaca\n    type: {fromat: '{instruction}'}")
        + "special_tokens:\n  pad_tokn: x\nlaunch:\n  gpsu: A100:8\nlora_alhpa: 3\n"
    )
    checked = check_text(text, file="r.yml")
    assert [(problem.code, problem.path, problem.line, problem.suggestion) for problem in checked.errors] == [
        ("unknown-key", "datasets[0].tpye", 4, "type"),
        ("unknown-key", "datasets[0].type.fromat", 5, "format"),
        ("unknown-key", "special_tokens.pad_tokn", 8, "pad_token"),
        ("unknown-key", "launch.gpsu", 10, "gpus"),
        ("unknown-key", "lora_alhpa", 11, "lora_alpha"),
    ]


def test_a_key_of_another_section_is_sent_there() -> None:
    problem = check_text(MINIMAL + "num_generations: 4\n", file="r.yml").errors[0]
    assert problem.code == "unknown-key"
    assert "trl.num_generations" in problem.fix


def test_strict_false_turns_unknown_keys_into_warnings() -> None:
    checked = check_text(MINIMAL + "strict: false\nmy_key: 3\nlora_alhpa: 2\n", file="r.yml")
    assert checked.config is not None
    assert [(problem.code, problem.path) for problem in checked.warnings] == [("unknown-key", "my_key"), ("unknown-key", "lora_alhpa")]
    assert found(MINIMAL + "strict: true\nmy_key: 3\n") == [("unknown-key", "my_key", 7)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("micro_batch_size: many", "micro_batch_size must be a whole number, found 'many'"),
        ("micro_batch_size: 2.5", "micro_batch_size must be a whole number, found 2.5"),
        ("micro_batch_size: true", "micro_batch_size must be a whole number, found true"),
        ("weight_decay: abc", "weight_decay must be a number, found 'abc'"),
        ("sample_packing: 1", "sample_packing must be true or false, found 1"),
        ("sample_packing: 'true'", "sample_packing must be true or false, found 'true'"),
        ("lora_modules_to_save: lm_head", "lora_modules_to_save must be a list of texts, found 'lm_head'"),
        ("wandb_name: 2024", "wandb_name must be text, found 2024"),
        ("lora_target_modules: [1]", "lora_target_modules[0] must be text, found 1"),
        ("lora_target_modules: {a: 1}", "lora_target_modules must be text or a list of texts, found a mapping"),
        ("special_tokens: x", "special_tokens must be a mapping, found 'x'"),
        ("launch: [1]", "launch must be a mapping, found a list"),
        ("chat_template_kwargs: 3", "chat_template_kwargs must be a mapping, found 3"),
        ("peft_layer_replication: [[0, x]]", "peft_layer_replication[0][1] must be a whole number, found 'x'"),
        ("image_size: [1, 2, 3]", "image_size must be a whole number or a list of 2 whole numbers, found a list"),
    ],
)
def test_a_wrong_type_is_one_sentence_at_its_line(line: str, message: str) -> None:
    errors = check_text(MINIMAL + line + "\n", file="r.yml").errors
    assert [(problem.code, problem.message, problem.line) for problem in errors] == [("wrong-type", message, 6)]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("micro_batch_size: 0", "micro_batch_size"),
        ("lora_r: 0", "lora_r"),
        ("lora_dropout: 1.5", "lora_dropout"),
        ("warmup_ratio: -0.1", "warmup_ratio"),
        ("max_steps: -5", "max_steps"),
        ("val_set_size: -0.1", "val_set_size"),
        ("num_epochs: 0", "num_epochs"),
        ("max_grad_norm: -1", "max_grad_norm"),
        ("save_steps: -1", "save_steps"),
        ("test_datasets: []", "test_datasets"),
        ("launch: {nodes: 0}", "launch.nodes"),
    ],
)
def test_a_value_out_of_range_is_an_error(line: str, path: str) -> None:
    assert found(MINIMAL + line + "\n") == [("out-of-range", path, 6)]


def test_a_learning_rate_of_zero_is_out_of_range() -> None:
    assert found(MINIMAL.replace("1e-5", "0")) == [("out-of-range", "learning_rate", 5)]
    assert found(MINIMAL.replace("1e-5", "-1")) == [("out-of-range", "learning_rate", 5)]


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("max_steps: 1e3", "max_steps", 1000),
        ('max_steps: "100"', "max_steps", 100),
        ('weight_decay: "1e-2"', "weight_decay", 0.01),
        ("weight_decay: 1", "weight_decay", 1.0),
        ("save_strategy: no", "save_strategy", "no"),
        ("save_strategy: 'no'", "save_strategy", "no"),
        ("added_tokens_overrides: {'128': a}", "added_tokens_overrides", {128: "a"}),
        ("save_steps: 0.25", "save_steps", 0.25),
        ("bf16: true", "bf16", True),
    ],
)
def test_values_that_can_only_mean_one_thing_are_read_as_that(line: str, option: str, value: object) -> None:
    checked = check_text(MINIMAL + line + "\n", file="r.yml")
    assert checked.config is not None, checked.errors
    assert getattr(checked.config, option) == value
    assert type(getattr(checked.config, option)) is type(value)


def test_a_wrong_word_gets_the_nearest_of_those_allowed() -> None:
    problem = check_text(MINIMAL + "save_strategy: epochs\n", file="r.yml").errors[0]
    assert (problem.code, problem.suggestion, problem.line) == ("unknown-name", "epoch", 6)


def test_all_problems_show_at_once_in_file_order() -> None:
    text = (
        MINIMAL.replace("base_model: org/model\n", "lora_alhpa: 1\n")
        + "micro_batch_size: 0\nwarmup_steps: 3\nwarmup_ratio: 0.1\nqat: {}\nrl: dpo\n"
    )
    assert [(code, path) for code, path, _ in found(text)] == [
        ("unknown-key", "lora_alhpa"),
        ("out-of-range", "micro_batch_size"),
        ("conflict", "warmup_ratio"),
        ("unsupported", "qat"),
        ("unsupported", "rl"),
        ("missing", "base_model"),
    ]


def test_a_misspelt_required_option_is_not_also_missing() -> None:
    assert found(MINIMAL.replace("learning_rate", "learnng_rate")) == [("unknown-key", "learnng_rate", 5)]


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("model_type: AutoModelForCausalLM", "type_of_model", "AutoModelForCausalLM"),
        ("noisy_embedding_alpha: 5", "neftune_noise_alpha", 5.0),
        ("dataset_processes: 2", "dataset_num_proc", 2),
        ("rope_scaling: {type: linear, factor: 2}", "overrides_of_model_config", {"rope_scaling": {"type": "linear", "factor": 2}}),
    ],
)
def test_old_names_are_read_and_reported(old: str, new: str, value: object) -> None:
    checked = check_text(MINIMAL + old + "\n", file="r.yml")
    assert checked.config is not None, checked.errors
    assert getattr(checked.config, new) == value
    assert [(problem.code, problem.line) for problem in checked.warnings] == [("renamed", 6)]


def test_the_oldest_way_to_ask_for_packing_is_translated() -> None:
    checked = check_text(MINIMAL + "max_packed_sequence_len: 2048\n", file="r.yml")
    assert checked.config is not None
    assert (checked.config.sequence_len, checked.config.sample_packing) == (2048, True)


def test_another_name_in_use_today_is_read_without_a_word() -> None:
    checked = check_text(MINIMAL + "model_config: {rope_theta: 5}\n", file="r.yml")
    assert checked.config is not None
    assert checked.config.overrides_of_model_config == {"rope_theta": 5}
    assert checked.warnings == ()


def test_both_names_of_one_option_are_a_conflict_only_when_they_differ() -> None:
    assert found(MINIMAL + "type_of_model: A\nmodel_type: B\n") == [("conflict", "model_type", 7)]
    assert found(MINIMAL + "type_of_model: A\nmodel_type: A\n") == []


def test_a_problem_of_a_renamed_option_stands_at_the_old_name() -> None:
    assert found(MINIMAL + "\nnoisy_embedding_alpha: lots\n") == [("wrong-type", "neftune_noise_alpha", 7)]


def test_a_cloud_key_of_another_launcher_is_no_typo() -> None:
    assert found(MINIMAL + "volumes: [a]\nhatchery: {backend: tinker}\n") == [("unsupported", "volumes", 6), ("unsupported", "hatchery", 7)]


def test_a_name_of_two_sections_is_meant_for_the_one_that_works() -> None:
    (problem,) = check_text(MINIMAL + "reward_funcs: [rewards.is_short]\n", file="r.yml").errors
    assert (problem.code, problem.suggestion) == ("unknown-key", "trl.reward_funcs")
    (alone,) = check_text(MINIMAL + "max_sample_tokens: 5\n", file="r.yml").errors
    assert "belongs under 'hatchery:'" in alone.message


def test_a_named_project_turns_its_tracker_on() -> None:
    config = check_text(MINIMAL + "wandb_project: p\n", file="r.yml").config
    assert config is not None
    assert config.use_wandb is True
    quiet = check_text(MINIMAL + "wandb_project: p\nuse_wandb: false\n", file="r.yml").config
    assert quiet is not None
    assert quiet.use_wandb is False


def test_the_written_back_config_reads_to_the_same_config() -> None:
    text = (
        MINIMAL
        + "added_tokens_overrides: {128: a}\npeft_init_lora_weights: gaussian\nadapter: lora\nlora_r: 8\nlora_alpha: 8\nlora_target_linear: true\nlaunch: {name: run-1, secrets: [HF_TOKEN]}\neval_strategy: no\n"
    )
    config = check_text(text, file="r.yml").config
    assert config is not None
    again = check_text(dump_yaml(config), file="copy.yml").config
    assert again == config
    assert again is not None
    assert again.model_fields_set == config.model_fields_set


def test_the_hash_is_about_learning_alone() -> None:
    def of(extra: str) -> str:
        config = check_text(MINIMAL + extra, file="r.yml").config
        assert config is not None
        return config_hash(config)

    assert of("") == of("output_dir: elsewhere\nlaunch: {nodes: 2}\nwandb_project: p\nsave_steps: 5\noptimizer: adamw_torch_fused\n")
    assert of("") != of("seed: 3\n")
    assert of("") != of("sequence_len: 1024\n")
    assert len(of("")) == 64


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(UserError) as caught:
            load_config(path)
        assert caught.value.exit_code == ExitCode.INVALID
        assert caught.value.problems[0].file == str(path)


def test_a_file_with_errors_raises_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_text(MINIMAL + "a_key: 1\nmicro_batch_size: 0\n")
    with pytest.raises(UserError) as caught:
        load_config(file)
    assert [problem.line for problem in caught.value.problems] == [6, 7]
    file.write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load_config(file)


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(file).config is not None
