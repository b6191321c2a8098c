"""Where layers load, and what a limit of GPU memory does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.placement import Placement, check_placed, placement_of


def config(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"device_map": None, "max_memory": None, "gpu_memory_limit": None, **given})


@pytest.mark.parametrize(
    ("given", "machine", "expected"),
    [
        ({}, ("cpu", 0, 1), Placement()),
        ({}, ("cuda:1", 2, 2), Placement(device_map={"": "cuda:1"})),
        (
            {"device_map": "auto", "max_memory": {0: "20GiB", "cpu": "60GiB"}},
            ("cuda:0", 1, 1),
            Placement(device_map="auto", max_memory={0: "20GiB", "cpu": "60GiB"}),
        ),
        ({"gpu_memory_limit": 20}, ("cuda:0", 2, 1), Placement(device_map="auto", max_memory={0: "20GiB", 1: "20GiB"}, limited=True)),
        ({"gpu_memory_limit": "9GB"}, ("cuda:1", 2, 2), Placement(device_map="auto", max_memory={1: "9GB"}, limited=True)),
        (
            {"gpu_memory_limit": 20, "device_map": "sequential"},
            ("cuda:0", 1, 1),
            Placement(device_map="sequential", max_memory={0: "20GiB"}, limited=True),
        ),
    ],
)
def test_options_become_a_map_and_limits(given: dict[str, Any], machine: tuple[str, int, int], expected: Placement) -> None:
    device, gpus, processes = machine
    assert placement_of(config(**given), device=device, gpus=gpus, processes=processes) == expected


def test_a_limit_for_gpus_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="this machine has none"):
        placement_of(config(gpu_memory_limit=20), device="cpu", gpus=0, processes=1)


def test_layers_that_left_the_gpus_are_refused() -> None:
    check_placed(SimpleNamespace(hf_device_map={"a": 0, "b": 1}), config(gpu_memory_limit=20))
    check_placed(SimpleNamespace(), config(gpu_memory_limit=20))
    with pytest.raises(UserError, match="placed on cpu"):
        check_placed(SimpleNamespace(hf_device_map={"a": 0, "b": "cpu"}), config(gpu_memory_limit=20))
