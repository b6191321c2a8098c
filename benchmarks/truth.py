"""How far the memory estimate is off the runtime's own step. `python benchmarks/truth.py [--short] [--only PATTERN]`

Each case is a recipe over a random model of a real architecture. The runtime trains it for a few steps: its loader, adapter, losses, optimizer and Trainer,
as in any run. On a CPU the bytes of live tensors are counted operation by operation; on a GPU the allocator's peak is read. The estimate is made of the
same recipe for the same place. Figures are MiB of tensors over one whole step, optimizer states present. All cases together go to
benchmarks/results/truth-DATE.json.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from live_tensors import LiveTensors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from launcher.estimate.memory import peak_of
from launcher.estimate.model_source import find_model
from launcher.estimate.peak import Peak
from launcher.estimate.place import Place
from launcher.estimate.recipe_step import step_of
from runtime.config.load import check_text
from runtime.data.prepare import prepare
from runtime.model.precision import machine_precision
from runtime.model.tokenizer import load_tokenizer
from runtime.training.assemble import assemble, load_learner
from runtime.training.cadence import cadence_of
from runtime.training.folder import RunFolder
from runtime.training.job import Job, Surroundings
from runtime.training.processes import Rank
from runtime.training.progress import Progress
from runtime.training.saving import Saver
from runtime.training.stop import StopRequest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TOKENIZER = ROOT / "examples" / "models" / "tiny-llama"
MIB = 2**20

TINY = {"hidden": 128, "layers": 2, "heads": 4, "kv_heads": 2, "inner": 352, "vocab": 4096}
MEDIUM = {"hidden": 512, "layers": 4, "heads": 8, "kv_heads": 4, "inner": 1408, "vocab": 4096}
WIDE = {"hidden": 256, "layers": 2, "heads": 4, "kv_heads": 2, "inner": 704, "vocab": 32_768}
LORA = {"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recipe's options over a model of `family` and `shape`, with rows of at most `length` tokens."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    family: str = "llama"
    shape: dict[str, int] = field(default_factory=lambda: MEDIUM)
    length: int = 256
    short: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """MiB at the peak of a step: measured, and estimated."""

    case: Case
    measured: float
    estimated: float
    measured_phases: dict[str, float]
    estimated_phases: dict[str, float]

    @property
    def error(self) -> float:
        """Estimated over measured, less one."""
        return self.estimated / self.measured - 1


def cases() -> Iterator[Case]:
    """Every method, then every option that memory depends on, then the architectures."""
    for name, shape in (("tiny", TINY), ("medium", MEDIUM), ("wide vocabulary", WIDE)):
        yield Case(name=f"full, {name}", shape=shape, short=name == "tiny")
        yield Case(name=f"lora, {name}", options=LORA, shape=shape, short=name == "tiny")
    yield Case(name="lora q v", options=LORA | {"lora_target_linear": None, "lora_target_modules": ["q_proj", "v_proj"]})
    yield Case(name="lora, dropout", options=LORA | {"lora_dropout": 0.1}, short=True)
    yield Case(name="lora, lm_head saved", options=LORA | {"lora_modules_to_save": ["lm_head"]})
    yield Case(name="dora", options=LORA | {"peft_use_dora": True}, short=True)
    yield Case(name="dora, checkpointing", options=LORA | {"peft_use_dora": True, "gradient_checkpointing": True})
    bf16: dict[str, Any] = {"bf16": True}
    for name, method in (("full", {}), ("lora", LORA)):
        yield Case(name=f"{name}, bf16", options=method | bf16, short=True)
        yield Case(name=f"{name}, checkpointing", options=method | {"gradient_checkpointing": True}, short=True)
        yield Case(name=f"{name}, bf16, checkpointing", options=method | bf16 | {"gradient_checkpointing": True})
        yield Case(name=f"{name}, selective", options=method | {"gradient_checkpointing": True, "selective_checkpointing": True})
        yield Case(name=f"{name}, eager", options=method | {"eager_attention": True})
        yield Case(name=f"{name}, bf16, eager", options=method | bf16 | {"eager_attention": True})
        yield Case(name=f"{name}, chunked loss", options=method | {"chunked_cross_entropy": True}, shape=WIDE, short=True)
        yield Case(name=f"{name}, bf16, chunked loss", options=method | bf16 | {"chunked_cross_entropy": True}, shape=WIDE)
        yield Case(name=f"{name}, own loss", options=method | {"use_dft": True}, shape=WIDE)
        yield Case(name=f"{name}, tiled mlp", options=method | {"tiled_mlp": True, "tiled_mlp_num_shards": 4})
        yield Case(name=f"{name}, accumulation", options=method | {"gradient_accumulation_steps": 2})
        yield Case(name=f"{name}, packed", options=method | {"sample_packing": True})
        # More steps, as the rows are shuffled: one micro batch holds a row of full length.
        yield Case(name=f"{name}, evaluation", options=method | {"val_set_size": 4, "eval_steps": 1, "eval_batch_size": 8, "max_steps": 6})
    yield Case(name="full, bf16 weights and products", options={"bfloat16": True})
    yield Case(name="full, some parameters", options={"unfrozen_parameters": [r"model\.layers\.[23]\."]})
    for optimizer in (
        "adamw_torch",
        "adafactor",
        "sgd",
        "lion_pytorch",
        "muon",
        "schedule_free_adamw",
        "optimi_adamw",
        "adopt_adamw",
        "came_pytorch",
        "rmsprop",
        "adagrad",
    ):
        yield Case(name=f"full, {optimizer}", options={"optimizer": optimizer}, length=32)
    for family in FAMILIES:
        if family != "llama":
            yield Case(name=f"full, {family}", family=family)
            yield Case(name=f"lora, {family}", family=family, options=LORA)


def _llama_like(shape: dict[str, int], **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": shape["hidden"],
        "intermediate_size": shape["inner"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "max_position_embeddings": 2048,
        "vocab_size": shape["vocab"],
    } | more


def _gpt_like(shape: dict[str, int], **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "vocab_size": shape["vocab"],
    } | more


FAMILIES: dict[str, Any] = {
    "llama": lambda s: _llama_like(s, tie_word_embeddings=False),
    "mistral": lambda s: _llama_like(s),
    "qwen2": lambda s: _llama_like(s, tie_word_embeddings=True),
    "qwen3": lambda s: _llama_like(s, head_dim=s["hidden"] // s["heads"]),
    "gemma3_text": lambda s: _llama_like(s, head_dim=s["hidden"] // s["heads"], sliding_window=128),
    "phi3": lambda s: _llama_like(s, pad_token_id=0),
    "gpt2": lambda s: {"n_embd": s["hidden"], "n_layer": s["layers"], "n_head": s["heads"], "vocab_size": s["vocab"], "n_positions": 2048},
    "gpt_neox": lambda s: _gpt_like(s, intermediate_size=4 * s["hidden"], max_position_embeddings=2048),
    "falcon": lambda s: _gpt_like(s),
    "qwen3_moe": lambda s: _llama_like(
        s, head_dim=s["hidden"] // s["heads"], num_experts=8, num_experts_per_tok=2, moe_intermediate_size=s["inner"] // 4
    ),
}


def main() -> None:
    """Measure every case, print the table, write the file."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--short", action="store_true", help="the cases that matter most")
    options.add_argument("--only", default="", help="cases whose name has this pattern")
    options.add_argument("--phases", action="store_true", help="also print the phases of each case")
    asked = options.parse_args()
    _quiet()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="truth-") as name:
        print(f"{'case':38} {'measured':>9} {'estimated':>9}  {'error':>6}   MiB")
        for case in cases():
            if (asked.short and not case.short) or not re.search(asked.only, case.name):
                continue
            try:
                result = measure(case, Path(name))
            except Exception as error:  # noqa: BLE001 - one case that cannot run here must not hide the others
                print(f"{case.name:38} failed: {type(error).__name__}: {error}", flush=True)
                continue
            results.append(result)
            print(f"{case.name:38} {result.measured:9.1f} {result.estimated:9.1f} {result.error:+7.1%}", flush=True)
            if asked.phases:
                print("    ", {k: round(v, 1) for k, v in result.measured_phases.items()})
                print("    ", {k: round(v, 1) for k, v in result.estimated_phases.items()})
    if not results:
        sys.exit("no case was measured")
    errors = sorted(abs(result.error) for result in results)
    print(
        f"\n{len(results)} cases: mean |error| {sum(errors) / len(errors):.1%}, median {errors[len(errors) // 2]:.1%}, largest {errors[-1]:.1%}"
    )
    if not (asked.only or asked.short):
        _write(results)


def measure(case: Case, work: Path) -> Result:
    """Train the case's recipe for a few steps and compare."""
    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    folder = work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    _write_model(case, folder / "model")
    _write_rows(case, folder / "rows.jsonl")
    text = json.dumps(_recipe(case, folder))
    checked = check_text(text, file="recipe.yml")
    if checked.config is None:
        raise ValueError("; ".join(problem.message for problem in checked.errors))
    config = checked.config
    facts = find_model(config.base_model).facts
    step = step_of(config, facts, Place(device="cuda" if cuda else "cpu", gpus=1, bf16=True), longest=case.length)
    estimated = peak_of(facts, step.workload)
    measured = _train(config, folder, cuda=cuda)
    return Result(
        case=case,
        measured=max(measured.values()) / MIB,
        estimated=_tensors(estimated),
        measured_phases={name: size / MIB for name, size in measured.items()},
        estimated_phases={phase.name: phase.total / MIB for phase in estimated.phases},
    )


def _tensors(peak: Peak) -> float:
    # Loading is not part of a step.
    return max(phase.total for phase in peak.phases if phase.name != "load") / MIB


def _recipe(case: Case, folder: Path) -> dict[str, Any]:
    return {
        "base_model": str(folder / "model"),
        "datasets": [{"path": str(folder / "rows.jsonl"), "ds_type": "json"}],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "sequence_len": case.length,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "max_steps": 3,
        "learning_rate": 0.001,
        "optimizer": "adamw_torch_fused",
        "save_strategy": "no",
    } | case.options


def _write_model(case: Case, folder: Path) -> None:
    shape = AutoConfig.for_model(case.family, **FAMILIES[case.family](case.shape))
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(folder)


def _write_rows(case: Case, file: Path) -> None:
    """Rows of tokens, every second one a little shorter, so that micro batches are padded."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for number in range(24):
        ids = torch.randint(10, 1000, (case.length - 16 * (number % 2),), generator=generator).tolist()
        rows.append(json.dumps({"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)}))
    file.write_text("\n".join(rows), encoding="utf-8")


def _train(config: Any, folder: Path, *, cuda: bool) -> dict[str, int]:
    """Most bytes alive in each part of the second and third step."""
    run = RunFolder(path=folder / "out")
    run.path.mkdir(parents=True, exist_ok=True)
    job = Job(
        config=config,
        surroundings=Surroundings(),
        rank=Rank(),
        folder=run,
        progress=Progress(speaks=False),
        events=None,
        stop=StopRequest(),
    )
    tokenizer = load_tokenizer(config)
    prepared = prepare(config, tokenizer)
    precision = machine_precision(config)
    cadence = cadence_of(config, rows=len(prepared.train), world_size=1, evaluates=prepared.validation is not None)
    saver = Saver(
        folder=run, rank=job.rank, config_text="", config_hash="", emit=job.emit, run="truth", attempt=1, limit=None, uploader=None
    )
    learner = load_learner(config, tokenizer, precision=precision, device="cuda:0" if cuda else "cpu")
    trainer = assemble(job, learner, tokenizer, prepared, cadence, precision=precision, saver=saver, cuda=cuda, fresh=True)
    if cuda:
        probe: _Allocator | _Counter = _Allocator()
    else:
        probe = _Counter(LiveTensors([*learner.model.parameters(), *learner.model.buffers()]))
    trainer.add_callback(probe)
    gc.collect()
    with probe.counting():
        trainer.train()
    peaks = probe.peaks()
    del trainer, learner
    gc.collect()
    return peaks


class _Counter(TrainerCallback):
    def __init__(self, counted: LiveTensors) -> None:
        self.counted = counted

    def counting(self) -> Any:
        return self.counted

    def peaks(self) -> dict[str, int]:
        return {name: size for name, size in self.counted.peaks.items() if name}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step == 1:
            self.counted.clear()
        self.counted.enter("forward and backward")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.counted.enter("optimizer step")

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.counted.enter("evaluation")


class _Allocator(TrainerCallback):
    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._phase = ""

    def counting(self) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def peaks(self) -> dict[str, int]:
        self._enter("")
        return {name: size for name, size in self._peaks.items() if name}

    def _enter(self, phase: str) -> None:
        torch.cuda.synchronize()
        self._peaks[self._phase] = max(self._peaks.get(self._phase, 0), torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        self._phase = phase

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._enter("forward and backward")
        if state.global_step == 1:
            self._peaks.clear()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._enter("optimizer step")

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._enter("evaluation")


def _quiet() -> None:
    import datasets

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _write(results: list[Result]) -> None:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    errors = [abs(result.error) for result in results]
    document = {
        "machine": {"date": date, "system": f"{platform.system()} {platform.machine()}", "device": device},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "mean_abs_error": round(sum(errors) / len(errors), 4),
        "largest_abs_error": round(max(errors), 4),
        "results": [
            {
                "name": result.case.name,
                "family": result.case.family,
                "unit": "MiB",
                "measured": round(result.measured, 2),
                "estimated": round(result.estimated, 2),
                "error": round(result.error, 4),
            }
            for result in results
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"truth-{date}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
