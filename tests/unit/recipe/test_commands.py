"""The commands that look at recipes, from their words to what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.cli.app import main

GOOD = "base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\n"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.yml").write_text(GOOD)
    Path("bad.yml").write_text(GOOD + "lora_alhpa: 3\nmodel_type: A\n")
    Path("broken.yml").write_text("a: [1\n")
    return tmp_path


def test_a_valid_recipe_says_so(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "validate", "good.yml") == (0, "good.yml: valid\n", "")
    assert run(capsys, "validate", "good.yml", "--quiet") == (0, "", "")


def test_every_problem_of_every_file_is_shown(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "validate", "good.yml", "bad.yml", "broken.yml", "none.yml")
    assert (code, out) == (2, "good.yml: valid\n")
    for said in (
        "bad.yml:6:1: unknown key 'lora_alhpa'",
        "did you mean 'lora_alpha'?",
        "bad.yml:7:1: warning: 'model_type'",
        "broken.yml:1:4",
        "none.yml",
    ):
        assert said in err, err


def test_json_has_the_shape_of_the_contract(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "validate", "good.yml", "bad.yml", "--json")
    assert code == 2
    answer = json.loads(out)
    assert (answer["schema"], answer["ok"]) == ("launcher.validate/1", False)
    good, bad = answer["data"]["files"]
    assert good == {"file": "good.yml", "ok": True, "errors": [], "warnings": []}
    error = bad["errors"][0]
    assert (error["code"], error["path"], error["line"], error["suggestion"]) == ("unknown-key", "lora_alhpa", 6, "lora_alpha")
    assert error["message"]
    assert bad["warnings"][0]["code"] == "renamed"


def test_values_on_the_command_line_are_checked_too(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "validate", "good.yml", "--set", "micro_batch_size=0")
    assert code == 2
    assert "--set micro_batch_size=0: micro_batch_size must be at least 1" in err


def test_render_prints_the_plain_config(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.yml").write_text(GOOD + "micro_batch_size: {{ gpu.count * 2 }}\nmodel_type: {{ kind }}\n")
    code, out, err = run(capsys, "render", "t.yml", "--gpus", "H100:2", "--var", "kind=A", "--set", "seed=1")
    assert code == 0
    assert "micro_batch_size: 4\n" in out
    assert "type_of_model: A\n" in out
    assert "seed: 1\n" in out
    assert "model_type" in err
    assert run(capsys, "render", "bad.yml")[0] == 2


def test_explain_and_schema_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "explain", "datasets[].type")
    assert code == 0
    assert out.startswith("datasets[].type\n")
    assert "chat_template" in out
    assert len(run(capsys, "explain")[1].splitlines()) > 800
    assert json.loads(run(capsys, "explain", "lora_r", "--json")[1])["data"]["effect"] == "passed to LoraConfig.r"
    code, _, err = run(capsys, "explain", "lora_rr")
    assert code == 2
    assert "lora_r" in err
    assert json.loads(run(capsys, "schema")[1])["title"] == "Fine-tuning recipe"
    target = tmp_path / "schema.json"
    run(capsys, "schema", "-o", str(target))
    assert "properties" in json.loads(target.read_text())


def test_a_recipe_is_checked_against_the_gpus_it_is_for(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.yml").write_text(GOOD + "bf16: true\ntf32: auto\n")
    assert run(capsys, "validate", "new.yml") == (0, "new.yml: valid\n", "")
    assert run(capsys, "validate", "new.yml", "--gpus", "A100:8") == (
        0,
        "new.yml: valid\n  tf32: auto is true, as A100 has TF32 units\n",
        "",
    )
    code, out, err = run(capsys, "validate", "new.yml", "--gpus", "T4:2")
    assert (code, out) == (2, "")
    assert "new.yml:6:1: bf16 needs a GPU of compute capability 8.0 or above, and this run is on T4" in err
    answer = json.loads(run(capsys, "validate", "new.yml", "--gpus", "V100", "--json")[1])["data"]["files"][0]
    assert [(error["code"], error["path"], error["line"]) for error in answer["errors"]] == [("environment", "bf16", 6)]
    assert answer["resolved"] == [{"option": "tf32", "value": False, "why": "V100 lacks TF32 units"}]


def test_the_launch_section_names_gpus_too(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.yml").write_text(GOOD + "bf16: true\nlaunch:\n  gpus: [A100:2, T4:2]\n")
    code, _, err = run(capsys, "validate", "new.yml")
    assert code == 2
    assert "new.yml:6:1: bf16 needs" in err
    assert "T4" in err
    assert run(capsys, "validate", "new.yml", "--gpus", "A100")[0] == 0
    Path("odd.yml").write_text(GOOD + "launch:\n  gpus: [A100:2, TX:2]\n")
    code, _, err = run(capsys, "validate", "odd.yml")
    assert code == 2
    assert "odd.yml:7:18: no GPU kind is called 'TX'" in err


def test_nodes_multiply_the_gpus(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wide.yml").write_text(GOOD + "device_map: auto\n")
    assert run(capsys, "validate", "wide.yml", "--gpus", "A100:1")[0] == 0
    code, _, err = run(capsys, "validate", "wide.yml", "--gpus", "A100:1", "--nodes", "2")
    assert code == 2
    assert "this run has 2 processes" in err
