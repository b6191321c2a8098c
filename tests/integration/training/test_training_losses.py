"""Losses of a recipe's own train through the ordinary path, killed or not, and evaluate as every run does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.config.load import load_config
from runtime.config.problem import ExitCode
from runtime.events import Event, read_events
from runtime.training.folder import RunFolder
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

SHORT = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-2, "micro_batch_size": 4, "gradient_accumulation_steps": 2}


def run(recipe: Path) -> list[Event]:
    from runtime.training.train import train

    checked = load_config(recipe)
    assert train(checked.config, Surroundings(), StopRequest()) == ExitCode.OK
    return list(read_events(recipe.with_suffix("") / "events.jsonl"))


def values(events: list[Event], kind: str, name: str = "loss") -> list[float]:
    return [event[name] for event in events if event["kind"] == kind]


def test_chunks_change_nothing_and_weights_of_tokens_do(recipe: Callable[..., Path]) -> None:
    plain = run(recipe("plain", **SHORT, sample_packing=True))
    chunked = run(recipe("chunked", **SHORT, sample_packing=True, chunked_cross_entropy=True))
    both = run(recipe("both", **SHORT, sample_packing=True, chunked_cross_entropy=True, use_dft=True, eval_on_start=True))
    for kind in ("loss", "eval"):
        assert values(chunked, kind) == pytest.approx(values(plain, kind), rel=1e-4)
    # A first loss of about ln 400, weighted by a probability of about 1 in 400.
    assert 0 < values(both, "loss")[0] < 0.05 * values(plain, "loss")[0]
    assert values(both, "eval")[0] > 4
    assert values(both, "eval")[-1] < values(both, "eval")[0]


def test_a_teacher_behind_a_server_that_is_certain_of_the_tokens_gives_the_plain_loss(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from runtime.training import assemble
    from runtime.training.losses.teacher import TeacherTokens

    class Certain:
        asked = 0

        def say(self, inputs: Any) -> TeacherTokens:
            self.asked += 1
            return TeacherTokens(inputs["input_ids"][..., None], torch.zeros((*inputs["input_ids"].shape, 1)))

    teacher = Certain()
    monkeypatch.setattr(assemble, "_online_teacher", lambda config, model: teacher)
    plain = run(recipe("plain", **SHORT, sample_packing=True))
    taught = run(recipe("taught", **SHORT, sample_packing=True, kd_trainer=True, kd_online_server_base_url="http://127.0.0.1:9"))
    assert values(taught, "loss") == pytest.approx(values(plain, "loss"), rel=1e-4)
    assert teacher.asked >= SHORT["max_steps"]


def test_a_student_comes_nearer_to_its_teacher_and_resumes(recipe: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny / "model")
    torch.manual_seed(7)
    teacher = LlamaForCausalLM.from_pretrained(tiny / "model")
    for weight in teacher.lm_head.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    rows = []
    for number in range(24):
        messages = [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"it is {2 * number + 1}."}]
        ids = torch.tensor(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))[None]
        with torch.no_grad():
            likely = teacher(ids).logits[0, :-1].log_softmax(-1).topk(5)
        rows.append({"messages": messages, "logprobs": likely.values.tolist(), "target_token_ids": likely.indices.tolist()})
    file = tmp_path / "taught.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    settings: dict[str, Any] = {
        **SHORT,
        "max_steps": 8,
        "datasets": [{"path": str(file), "ds_type": "json", "type": "axolotl.integrations.kd.chat_template"}],
        "dataset_prepared_path": str(tmp_path / "prepared"),
        "kd_trainer": True,
        "kd_ce_alpha": 0.01,
        "kd_temperature": 2.0,
        "kd_temperature_min": 1.0,
        "chunked_cross_entropy": True,
        "sample_packing": True,
    }
    whole = run(recipe("whole", **settings))
    losses = values(whole, "loss")
    assert losses[-1] < 0.7 * losses[0]
    # The temperature follows the step, so a run that starts again at step 6 ends with the same weights.
    path = recipe("again", **settings)
    run(path)
    folder = RunFolder(path=path.with_suffix(""))
    shutil.rmtree(folder.checkpoint(8))
    shutil.rmtree(folder.final)
    resumed = run(recipe("again", **settings, auto_resume_from_checkpoints=True))
    assert [event["from_step"] for event in resumed if event["kind"] == "resumed"] == [6]
    one, two = (load_file(path.parent / name / "final" / "model.safetensors") for name in ("whole", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)
