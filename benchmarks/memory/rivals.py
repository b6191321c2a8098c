"""Other estimators, asked about the same rows, each with all that its interface takes.

- fitcheck-llm: `estimate` with a model config parsed from the config dict and the parameter count the Hub would report. One GPU, Llama-shaped models.
- accelerate: `estimate-memory`'s own functions on a meta model. Training with Adam for full fine-tuning; it has no figure for adapters, so what counts
  there is the size of the weights it prints. One GPU.
- DeepSpeed: `estimate_zero2_…` on one GPU and `estimate_zero3_…` on several, without offloading. Full fine-tuning; model states alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from launcher.estimate.peak import GIB
from memory.rows import Row
from memory.scoring import Answer

WORK = Path(__file__).resolve().parent.parent / "work"
WORKER = Path(__file__).resolve().parent / "rival_worker.py"
FITCHECK, DEEPSPEED = "fitcheck-llm==0.3.1", "deepspeed==0.19.8"
# What DeepSpeed imports besides torch, which comes from the environment that runs this.
_BESIDE = ("setuptools", "wheel", "numpy", "hjson", "py-cpuinfo", "msgpack", "einops", "psutil", "ninja", "pydantic", "tqdm", "packaging")

Answers = dict[str, Answer]


def rivals(rows: Iterable[Row]) -> dict[str, Answers]:
    """Answers of each rival by row; a row a rival refuses is missing. Installs what is missing under benchmarks/work."""
    rows = list(rows)
    python = _environment()
    asked = [_question(row) for row in rows]
    said = subprocess.run(
        [str(python), str(WORKER), sysconfig.get_paths()["purelib"]], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise RuntimeError(said.stderr)
    # Libraries may print before the answer.
    answers = json.loads(said.stdout.splitlines()[-1])
    return {
        "fitcheck-llm": _answers(rows, answers["fitcheck"]),
        "accelerate": _accelerate(rows),
        "DeepSpeed": _answers(rows, answers["deepspeed"]),
    }


def _environment() -> Path:
    """The interpreter of the scratch environment, made on first use."""
    folder = WORK / "rivals"
    python = folder / "bin" / "python"
    done = folder / ".made"
    wanted = f"{FITCHECK} {DEEPSPEED}"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    WORK.mkdir(exist_ok=True)
    print(f"installing {wanted} into {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*pip, FITCHECK, *_BESIDE], check=True)
    # Its build imports torch.
    environment = os.environ | {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", DEEPSPEED], check=True, env=environment)
    done.write_text(wanted, encoding="utf-8")
    return python


def _question(row: Row) -> dict[str, object]:
    workload, adapter = row.workload, row.workload.adapter
    largest = max(row.facts.embedding_parameters, *(matrix.weights for _, matrix in row.facts.matrices()))
    return {
        "id": row.id,
        "config": dict(row.config),
        "parameters": row.facts.parameters,
        "largest_layer": largest,
        "gpus": row.gpus,
        "sharded": workload.sharding.kind == "fsdp",
        "offload": workload.sharding.offload,
        "full": adapter is None,
        "rank": adapter.rank if adapter else None,
        "targets": list(adapter.targets) if adapter and adapter.targets else None,
        "precision": row.half,
        "quantization": workload.quantization,
        "optimizer": "adamw8bit" if "8bit" in workload.optimizer else "adamw",
        "batch": workload.micro_batch,
        "sequence": workload.sequence,
        "checkpointing": workload.checkpointing != "none",
        "flash": workload.attention != "eager",
        "gpu": row.gpu.name if row.gpu else None,
        "allocated": row.kind == "allocated",
    }


def _answers(rows: list[Row], said: dict[str, dict[str, object]]) -> Answers:
    return {row.id: Answer(**said[row.id]) for row in rows if row.id in said}  # type: ignore[arg-type]


def _accelerate(rows: list[Row]) -> Answers:
    sizes: dict[str, int] = {}
    answers: Answers = {}
    for row in rows:
        if row.gpus > 1:
            continue
        key = json.dumps(row.config, sort_keys=True, default=str)
        if key not in sizes:
            sizes[key] = _meta_size(row)
        gib = _accelerate_bytes(sizes[key], row) / GIB
        fits = None if row.gpu is None else "fits" if gib <= row.gpu.capacity_gib else "does-not-fit"
        answers[row.id] = Answer(gib=gib, verdict=fits)  # type: ignore[arg-type]
    return answers


def _meta_size(row: Row) -> int:
    import torch
    from accelerate import init_empty_weights
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    with init_empty_weights():
        model = AutoModel.from_config(AutoConfig.for_model(**row.config), dtype=torch.float32)
    return int(calculate_maximum_sizes(model)[0])


def _accelerate_bytes(fp32: int, row: Row) -> float:
    from accelerate.commands.estimate import estimate_training_usage

    if row.workload.adapter is None:
        return float(max(estimate_training_usage(fp32, "bfloat16").values()))
    return fp32 / 8 if row.workload.quantization != "none" else fp32 / 2
