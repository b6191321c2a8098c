"""Old names are rewritten where they stand, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.cli.app import main
from launcher.recipe.fix import with_current_names, with_plugins, write_over
from runtime.config.load import check_text
from runtime.config.problem import Problem

OLD = """\
# my recipe
base_model: org/model   # the base
'model_type': AutoModelForCausalLM
datasets:
  - {path: rows.jsonl, type: alpaca, train_on_split: train}  # noisy_embedding_alpha: here it is a comment
noisy_embedding_alpha:   5

learning_rate: 1e-5
max_packed_sequence_len: 2048
"""
NEW = """\
# my recipe
base_model: org/model   # the base
'type_of_model': AutoModelForCausalLM
datasets:
  - {path: rows.jsonl, type: alpaca, split: train}  # noisy_embedding_alpha: here it is a comment
neftune_noise_alpha:   5

learning_rate: 1e-5
sequence_len: 2048
sample_packing: true
"""


def test_comments_order_and_quotes_stay() -> None:
    before = check_text(OLD, file="r.yml")
    text, count = with_current_names(OLD, before.warnings)
    assert (text, count) == (NEW, 4)
    after = check_text(text, file="r.yml")
    assert after.warnings == ()
    assert after.config == before.config


def test_a_text_without_old_names_stays() -> None:
    assert with_current_names(NEW, check_text(NEW, file="r.yml").warnings) == (NEW, 0)


def test_the_file_is_replaced_whole_with_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "r.yml"
    file.write_text(OLD)
    file.chmod(0o640)
    write_over(file, NEW)
    assert file.read_text() == NEW
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_windows_line_ends_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.yml"
    file.write_bytes(OLD.replace("\n", "\r\n").encode())
    with pytest.raises(SystemExit):
        main(["validate", "--fix", str(file)])
    capsys.readouterr()
    assert b"\r\nneftune_noise_alpha:   5\r\n" in file.read_bytes()


def test_the_command_rewrites_files_but_no_templates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, template = tmp_path / "r.yml", tmp_path / "t.yml"
    file.write_text(OLD)
    template.write_text(OLD.replace("5\n", "{{ 5 }}\n"))
    with pytest.raises(SystemExit) as ended:
        main(["validate", "--fix", str(file), str(template)])
    assert ended.value.code == 0
    assert file.read_text() == NEW
    assert "{{ 5 }}" in template.read_text()
    assert "4 names rewritten" in capsys.readouterr().err


OLD_NAMES = {
    "model_type": "AutoModelForCausalLM",
    "evaluation_strategy": "steps",
    "dpo_beta": "0.1",
    "noisy_embedding_alpha": "5",
    "sequence_parallel_degree": "1",
    "max_packed_sequence_len": "1024",
    "dataset_processes": "2",
    "relora_steps": "100",
    "relora_warmup_steps": "10",
    "relora_anneal_steps": "5",
    "liger_swiglu": "true",
    "eval_table_max_new_tokens": "64",
    "rope_scaling": "{type: linear, factor: 2.0}",
    "fsdp_config": "{fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer, 'fsdp_offload_params': true, fsdp_version: 2}",
    "test_datasets": "[{path: b.jsonl, type: alpaca, train_on_split: train}]",
}
BLOCKS = {
    "rope_scaling": "rope_scaling:   # stretch\n  type: linear\n\n  # twice\n  factor: 2.0\n# after\n",
    "fsdp_config": "fsdp_config:\n  fsdp_sync_module_states: true\n  # how\n  fsdp_state_dict_type: FULL_STATE_DICT\n",
    "test_datasets": "test_datasets:\n  - &b\n    path: b.jsonl\n    train_on_split: train\n  - <<: *b\n    type: alpaca\n",
}
START = "base_model: org/model\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\nlearning_rate: 1e-5\n"


def test_every_old_name_is_covered() -> None:
    from runtime.config.renames import RENAMED

    assert set(RENAMED) <= set(OLD_NAMES)


def meaning(text: str) -> Any:
    from runtime.config.plain import config_hash

    checked = check_text(text, file="r.yml")
    return config_hash(checked.config) if checked.config is not None else sorted((problem.code, problem.path) for problem in checked.errors)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    names=st.lists(st.sampled_from(sorted(OLD_NAMES)), min_size=1, unique=True),
    quote=st.sampled_from(["", "'", '"']),
    comment=st.sampled_from(["", "   # noisy_embedding_alpha: é🚀 is a comment"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    block=st.booleans(),
)
def test_a_rewritten_recipe_means_the_same_and_is_not_rewritten_again(
    names: list[str], quote: str, comment: str, newline: str, mark: str, block: bool
) -> None:
    rows = [BLOCKS[name] if block and name in BLOCKS else f"{quote}{name}{quote}: {OLD_NAMES[name]}{comment}\n" for name in names]
    text = (START + "# mine\n" + "\n".join(rows)).replace("\n", newline)
    before = check_text(text, file="r.yml")
    better, count = with_current_names(mark + text, before.warnings)
    assert better.startswith(mark)
    better = better.removeprefix(mark)
    after = check_text(better, file="r.yml")
    assert meaning(better) == meaning(text)
    assert after.config == before.config
    assert [problem for problem in after.warnings if problem.code == "renamed"] == []
    assert count > 0
    assert with_current_names(better, after.warnings) == (better, 0)
    assert better.count(newline) == better.count("\n")
    assert [line.partition("#")[2] for line in better.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in text.splitlines() if "#" in line
    ]


@pytest.mark.parametrize(
    "text",
    [
        "neftune_noise_alpha:\nnoisy_embedding_alpha: 5\n",
        "overrides_of_model_config: {a: 1}\nrope_scaling: {type: linear}\n",
        "neftune_noise_alpha: 5\nnoisy_embedding_alpha: 5\n",
    ],
)
def test_what_cannot_be_rewritten_safely_stays(text: str) -> None:
    assert with_current_names(START + text, check_text(START + text, file="r.yml").warnings) == (START + text, 0)


def test_a_moved_option_takes_its_lines_along() -> None:
    text = START + BLOCKS["rope_scaling"] + "seed: 1\n"
    better, count = with_current_names(text, check_text(text, file="r.yml").warnings)
    assert count == 1
    assert better == START + (
        "overrides_of_model_config:\n  rope_scaling:   # stretch\n    type: linear\n\n    # twice\n    factor: 2.0\n# after\nseed: 1\n"
    )


LIGER = "axolotl.integrations.liger.LigerPlugin"
SPECTRUM = "axolotl.integrations.spectrum.SpectrumPlugin"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1\nb: 2", f"a: 1\nb: 2\nplugins:\n  - {LIGER}\n"),
        ("plugins: []  # none\na: 1\n", f"plugins: [{LIGER}]  # none\na: 1\n"),
        (f"plugins: [{SPECTRUM}]\n", f"plugins: [{SPECTRUM}, {LIGER}]\n"),
        (f"plugins:\n# mine\n- {SPECTRUM}\na: 1\n", f"plugins:\n- {LIGER}\n# mine\n- {SPECTRUM}\na: 1\n"),
        (f"plugins:   # two\r\n    -   {SPECTRUM}\r\n", f"plugins:   # two\r\n    -   {LIGER}\r\n    -   {SPECTRUM}\r\n"),
        ("plugins: *shared\n", "plugins: *shared\n"),
    ],
)
def test_a_missing_plugin_is_added_where_plugins_are_listed(before: str, after: str) -> None:
    problems = [Problem(code="no-plugin", message="", suggestion=LIGER), Problem(code="renamed", message="", suggestion="x")]
    text, count = with_plugins(before, problems)
    assert (text, count) == (after, int(before != after))


def test_fix_of_validate_adds_it_and_the_warning_is_gone(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yml"
    recipe.write_text(
        "base_model: a/b\nlearning_rate: 0.0001\ndatasets: [{path: r.jsonl, type: alpaca}]\nliger_rope: true\n", encoding="utf-8"
    )
    with pytest.raises(SystemExit) as ended:
        main(["validate", "--fix", str(recipe)])
    assert ended.value.code == 0
    assert recipe.read_text(encoding="utf-8").endswith(f"liger_rope: true\nplugins:\n  - {LIGER}\n")
    assert check_text(recipe.read_text(encoding="utf-8"), file="r.yml").warnings == ()
