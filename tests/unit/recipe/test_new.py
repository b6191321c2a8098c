"""`launcher new` and `launcher families`, from their words to the files they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.cli.app import main
from runtime.config.load import load_config

LORA = ("new", "smollm", "--size", "135m", "--method", "lora")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("LAUNCHER_TEMPLATES", raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_a_recipe_is_written_with_the_schema_its_first_line_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *LORA, "-o", "mine.yml", "--set", "lora_r=4")
    assert (code, out) == (0, "")
    assert "wrote mine.yml" in err
    first, *_ = (folder / "mine.yml").read_text().splitlines()
    assert first == "# yaml-language-server: $schema=recipe.schema.json"
    schema = json.loads((folder / "recipe.schema.json").read_text())
    assert schema["properties"]["lora_r"]["description"].startswith("Rank of the adapter")
    config = load_config(folder / "mine.yml").config
    assert config is not None
    assert (config.base_model, config.lora_r) == ("HuggingFaceTB/SmolLM2-135M-Instruct", 4)


def test_a_printed_recipe_names_a_schema_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *LORA)
    assert code == 0
    reference = out.splitlines()[0].partition("$schema=")[2]
    assert reference.startswith("file://")
    assert json.loads(Path(reference.removeprefix("file://")).read_text())["title"] == "Fine-tuning recipe"
    assert list(folder.iterdir()) == []


def test_a_file_that_exists_stays_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yml").write_text("precious")
    code, _, err = run(capsys, *LORA, "-o", "mine.yml")
    assert code == 2
    assert "the file exists" in err
    assert (folder / "mine.yml").read_text() == "precious"
    assert run(capsys, *LORA, "-o", "mine.yml", "--force")[0] == 0
    assert "base_model" in (folder / "mine.yml").read_text()


def test_another_file_in_place_of_the_schema_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "recipe.schema.json").write_text('{"title": "Soup"}')
    code, _, err = run(capsys, *LORA, "-o", "mine.yml", "--force")
    assert code == 2
    assert "is not the schema of recipes" in err
    assert (folder / "recipe.schema.json").read_text() == '{"title": "Soup"}'
    assert not (folder / "mine.yml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "lora_r=many"), "--set lora_r=many"),
        (("--dataset", "./none.jsonl"), "there is no such file"),
        (("-o", "none/mine.yml"), "there is no such folder"),
        (("--nodes", "2"), "--gpus"),
        (("--gpus", "H1000:1"), "no GPU kind is called"),
        (("--templates", "none"), "--templates none"),
        (("--var", "x"), "not of the form name=value"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    output = () if "-o" in words else ("-o", "mine.yml")
    code, _, err = run(capsys, *LORA, *words, *output)
    assert code == 2
    assert said in err
    assert list(folder.iterdir()) == []


def test_gpus_that_are_too_small_are_refused_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("new", "llama-3", "--size", "70b", "--method", "full", "--gpus", "H100:1", "-o", "mine.yml")
    code, out, err = run(capsys, *words)
    assert (code, out) == (3, "")
    assert "each GPU must hold about" in err
    assert "`--method qlora` fits" in err
    assert list(folder.iterdir()) == []


def test_gpus_that_may_be_too_small_are_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "new", "llama-3", "--size", "8b", "--method", "full", "--gpus", "A100:1")
    assert code == 0
    assert "gpus: A100:1" in out
    assert "warning: a GPU must hold" in err


def test_a_file_of_rows_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    code, out, _ = run(capsys, *LORA, "--dataset", "rows.jsonl", "--json")
    assert code == 0
    data = json.loads(out)["data"]
    assert "  - path: rows.jsonl\n    ds_type: json\n    type: alpaca\n" in data["text"]
    assert "Public conversations" not in data["text"]
    assert (data["file"], data["estimate"]) == (None, None)


def test_templates_are_found_through_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "slow.yml.jinja").write_text('{% extends "lora.yml.jinja" %}\n')
    (own / "families").mkdir()
    (own / "families" / "house.yml").write_text(
        "title: House\nlicence: ours\nsizes:\n  s: {base: org/m, context: 512, methods: {slow: {learning_rate: 0.0001, rank: 2}}}\n"
    )
    assert run(capsys, "new", "house", "--size", "s", "--method", "slow")[0] == 2
    monkeypatch.setenv("LAUNCHER_TEMPLATES", str(own))
    code, out, _ = run(capsys, "new", "house", "--size", "s", "--method", "slow")
    assert code == 0
    assert "lora_r: 2" in out


def test_families_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "families", "llama-3", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["schema"] == "launcher.families/1"
    (family,) = answer["data"]["families"]
    largest = family["sizes"][-1]
    assert (family["family"], largest["size"], largest["gated"], largest["context"]) == ("llama-3", "70b", True, 131072)
    assert largest["methods"]["full"]["fits_one_gpu"] is False
    assert largest["methods"]["qlora"]["smallest_gpu"]
    assert largest["methods"]["qlora"]["per_gpu_gib"] > 40


def test_a_family_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "families", "lama-3")
    assert (code, out) == (2, "")
    assert "did you mean 'llama-3'?" in err
