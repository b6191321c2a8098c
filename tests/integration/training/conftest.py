"""A Llama of two layers with a tokenizer trained on the spot, a few hundred short rows, and a recipe over them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHAT = "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] + '</s>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"

Recipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def _spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kills a preempted process when its notice has run out spares the one that runs the tests."""
    from runtime.training import boundary

    monkeypatch.setattr(boundary, "kill_after", lambda seconds: threading.Timer(seconds, lambda: None))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/` and `rows.jsonl`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("tiny")
    rows = [{"text": f"question {i}: what is {i} and {i + 1}? it is {2 * i + 1}." * (1 + i % 3)} for i in range(120)]
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([row["text"] for row in rows], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = CHAT
    fast.save_pretrained(root / "model")
    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(settings).save_pretrained(root / "model")
    return root


@pytest.fixture
def recipe(tiny: Path, tmp_path: Path) -> Recipe:
    """Writes a recipe and gives its path: 12 steps in 2.4 epochs, evaluated every 4, saved every 5, logged every 3; keywords lay values over it."""

    def write(name: str = "out", **values: Any) -> Path:
        document = {
            "base_model": str(tiny / "model"),
            "datasets": [{"path": str(tiny / "rows.jsonl"), "ds_type": "json", "type": "completion", "field": "text"}],
            "dataset_prepared_path": str(tiny / "prepared"),
            "output_dir": str(tmp_path / name),
            "sequence_len": 128,
            "val_set_size": 0.1,
            "micro_batch_size": 11,
            "gradient_accumulation_steps": 2,
            "max_steps": 12,
            "save_steps": 5,
            "eval_steps": 4,
            "logging_steps": 3,
            "learning_rate": 1e-3,
        } | values
        path = tmp_path / f"{name}.yml"
        path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}), encoding="utf-8")
        return path

    return write


LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_linear": True}
