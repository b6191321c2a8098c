"""Old names are rewritten where they stand, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli.app import main
from launcher.recipe.fix import with_current_names, write_over
from runtime.config.load import check_text

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
