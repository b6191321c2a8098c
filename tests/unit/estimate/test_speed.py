import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.cost import cost_usd
from launcher.estimate.gpus import Gpu, find_gpu
from launcher.estimate.known_models import known_config
from launcher.estimate.range import Range
from launcher.estimate.speed import cpu_tokens_per_s, flops_per_token, tokens_per_s
from launcher.estimate.workload import Adapter, Sharding, Workload

FACTS = facts_from_config(known_config("meta-llama/Llama-3.1-8B") or {})
FULL = Workload(sequence=2048)
LORA = replace(FULL, adapter=Adapter(rank=16))


def gpu(name: str) -> Gpu:
    found = find_gpu(name)
    assert found is not None
    return found


def test_full_fine_tuning_takes_six_operations_a_weight_and_a_frozen_base_four() -> None:
    short = replace(FULL, sequence=1)
    assert flops_per_token(FACTS, short) == pytest.approx(6 * 7.5e9, rel=0.01)
    assert flops_per_token(FACTS, replace(LORA, sequence=1)) == pytest.approx(4 * 7.5e9, rel=0.01)


def test_long_sequences_add_attention() -> None:
    assert flops_per_token(FACTS, replace(FULL, sequence=32768)) > 1.3 * flops_per_token(FACTS, FULL)


def test_a_known_run_lies_in_the_range() -> None:
    # NeMo Automodel's page: Llama-3-8B, LoRA, one H100, micro batch 2 of 4096: 12,473 tokens/s.
    speed = tokens_per_s(FACTS, replace(LORA, micro_batch=2, sequence=4096), gpu("H100"))
    assert speed.low < 12_473 < speed.high


def test_sharding_without_nvlink_is_slow() -> None:
    sharded = replace(FULL, sharding=Sharding(kind="fsdp", gpus=2))
    assert tokens_per_s(FACTS, sharded, gpu("RTX4090")).value < 0.5 * tokens_per_s(FACTS, FULL, gpu("RTX4090")).value


@given(cores=st.integers(1, 256))
def test_more_cores_are_faster(cores: int) -> None:
    slow, fast = cpu_tokens_per_s(FACTS, FULL, cores=cores), cpu_tokens_per_s(FACTS, FULL, cores=cores + 1)
    assert slow.low < slow.value < slow.high
    assert fast.value > slow.value


@given(hours=st.floats(0, 1e5), price=st.floats(0, 1e4))
def test_cost_is_hours_times_price(hours: float, price: float) -> None:
    cost = cost_usd(Range(value=hours, low=hours / 2, high=hours * 2), price)
    assert cost.value == pytest.approx(hours * price)
    assert cost.low <= cost.value <= cost.high


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        cost_usd(Range(value=1, low=1, high=1), -1.0)


def test_nine_in_ten_public_speeds_lie_in_the_range() -> None:
    script = Path(__file__).parents[3] / "benchmarks" / "throughput.py"
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("all "))
    rows, inside = line.split()[1:3]
    assert int(rows) > 200
    assert float(inside.rstrip("%")) >= 90


def test_what_is_known_of_a_kind_decides_how_wide_its_range_is() -> None:
    widths = [speed.high / speed.low for speed in (tokens_per_s(FACTS, LORA, gpu(name)) for name in ("A100-80GB", "A40", "B200"))]
    assert widths == sorted(widths)
    assert widths[2] > 2 * widths[1]
