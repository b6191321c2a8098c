"""Measures what checking recipes costs, and writes benchmarks/results/validate-DATE.json.

    python benchmarks/validate.py [--times 7]

Three cases of the launcher, each with its goal: one recipe of 60 lines in a fresh process, 250 recipes in one call, and one recipe again in a process that
has checked others (there the unit is seconds of wall time for one recipe). Beside them the floor that any checker of typed YAML stands on: PyYAML's safe
loader and an empty pydantic model, in a fresh process and for 250 recipes. Fresh processes run in turns after one unmeasured start; CPU-seconds are user plus
system time as the kernel counts them; the median of all times is reported, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MANY = 250
LAUNCHER = "from launcher.cli.app import main; main()"
FLOOR = """
import sys
import yaml
from pydantic import BaseModel, ConfigDict
class Recipe(BaseModel):
    model_config = ConfigDict(extra="allow")
for file in sys.argv[1:]:
    Recipe.model_validate(yaml.safe_load(open(file, encoding="utf-8")))
"""
WARM = """
import sys, time
from pathlib import Path
from runtime.config.load import load_config
for turn in range(12):
    start = time.perf_counter()
    load_config(Path(sys.argv[1]))
    if turn > 1:
        print(time.perf_counter() - start)
"""
RECIPE = """\
# A recipe as people write them: sixty lines, comments and blank ones included.
base_model: Qwen/Qwen2.5-7B-Instruct
tokenizer_type: AutoTokenizer
trust_remote_code: false
strict: true

load_in_4bit: true
adapter: qlora
lora_r: 32
lora_alpha: 64
lora_dropout: 0.05
lora_target_modules:
  - q_proj
  - k_proj
  - v_proj
  - o_proj
  - gate_proj
  - up_proj
  - down_proj

chat_template: chatml
datasets:
  - path: org/conversations
    type: chat_template
    split: train
    field_messages: conversations
    message_property_mappings:
      role: from
      content: value
    roles_to_train: [assistant]
    train_on_eos: turn
  - path: rows.jsonl
    type: alpaca
    shards: 4
shuffle_merged_datasets: true
val_set_size: 0.02
dataset_prepared_path: prepared
output_dir: ./out

sequence_len: 4096
sample_packing: true
pad_to_sequence_len: true

micro_batch_size: 2
gradient_accumulation_steps: 8
num_epochs: 3
optimizer: adamw_torch_fused
lr_scheduler: cosine
learning_rate: 2e-4
warmup_ratio: 0.03
weight_decay: 0.01
max_grad_norm: 1.0
bf16: auto
gradient_checkpointing: true
attn_implementation: sdpa
logging_steps: 1
evals_per_epoch: 4
saves_per_epoch: 1
save_total_limit: 3
special_tokens:
  pad_token: <|endoftext|>
seed: %d
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds over all times of one case: CPU-seconds of a process, or wall seconds of one recipe."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    goal: float | None


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--times", type=int, default=7, help="fresh processes for each case (default: %(default)s)")
    arguments.add_argument("--out", type=Path, default=RESULTS / f"validate-{datetime.date.today():%Y-%m-%d}.json", help="file to write")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="recipes-") as folder:
        results = measure(Path(folder), options.times)
    machine = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    content = {
        "machine": {"date": f"{datetime.date.today():%Y-%m-%d}", **machine},
        "times": options.times,
        "recipe_lines": RECIPE.count("\n"),
        "results": [asdict(result) for result in results],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{'':46}{'unit':>8}{'median':>9}{'low':>9}{'high':>9}{'goal':>8}")
    for result in results:
        goal = "" if result.goal is None else f"{result.goal:.2f}"
        print(f"{result.name:46}{result.unit:>8}{result.median:9.4f}{result.low:9.4f}{result.high:9.4f}{goal:>8}")
    print(f"written to {options.out}")
    return 0


def measure(folder: Path, times: int) -> list[Measured]:
    """Every case over recipes written into `folder`. Raises SystemExit when a command fails or a recipe is not valid."""
    files = [folder / f"recipe-{number}.yml" for number in range(MANY)]
    for number, file in enumerate(files):
        file.write_text(RECIPE % number, encoding="utf-8")
    one, many = [str(files[0])], [str(file) for file in files]
    cases: list[tuple[str, str, list[str], float | None]] = [
        ("floor: safe_load + pydantic, 1 recipe", FLOOR, one, None),
        ("launcher validate, 1 recipe", LAUNCHER, ["validate", *one], 0.60),
        (f"floor: safe_load + pydantic, {MANY} recipes", FLOOR, many, None),
        (f"launcher validate, {MANY} recipes", LAUNCHER, ["validate", *many], 5.0),
    ]
    seconds: dict[str, list[float]] = {name: [] for name, *_ in cases}
    for turn in range(times + 1):
        for name, code, words, _ in cases:
            used = start(code, words)[0]
            if turn:
                seconds[name].append(used)
    results = [measured(name, "CPU-s", seconds[name], goal) for name, _, _, goal in cases]
    return [*results, measured("one recipe again, in one process", "s", [float(line) for line in start(WARM, one)[1].split()], 0.02)]


def measured(name: str, unit: str, seconds: list[float], goal: float | None) -> Measured:
    """Median, lowest and highest of `seconds`."""
    return Measured(
        name=name,
        unit=unit,
        median=round(statistics.median(seconds), 4),
        low=round(min(seconds), 4),
        high=round(max(seconds), 4),
        goal=goal,
    )


def start(code: str, words: list[str]) -> tuple[float, str]:
    """CPU-seconds of one fresh process, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(words[:2])} failed with exit code {process.returncode}:\n{process.stderr[:2000]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, process.stdout


if __name__ == "__main__":
    sys.exit(main())
