"""Which number format a recipe means on which machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.precision import Precision, choose_precision

UNSET = dict.fromkeys(["float32", "bfloat16", "float16", "fp16", "adapter", "load_in_8bit"], None) | {"bf16": "auto"}


@pytest.mark.parametrize(
    ("options", "machine", "expected"),
    [
        ({}, (False, False), Precision(weights="float32")),
        ({}, (True, True), Precision(weights="bfloat16", bf16=True)),
        ({}, (True, False), Precision(weights="float32", fp16=True)),
        ({"adapter": "lora"}, (True, False), Precision(weights="float16", fp16=True)),
        ({"bf16": True}, (False, False), Precision(weights="bfloat16", bf16=True)),
        ({"bf16": "full"}, (True, True), Precision(weights="bfloat16", bf16=True, full_eval=True)),
        ({"bf16": False}, (True, True), Precision(weights="float32")),
        ({"bf16": False, "load_in_8bit": True}, (True, True), Precision(weights="float16")),
        ({"bfloat16": True}, (False, False), Precision(weights="bfloat16")),
        ({"fp16": True, "bf16": False}, (True, True), Precision(weights="float32", fp16=True)),
    ],
)
def test_formats(options: dict[str, Any], machine: tuple[bool, bool], expected: Precision) -> None:
    assert choose_precision(SimpleNamespace(**{**UNSET, **options}), cuda=machine[0], bf16_supported=machine[1]) == expected


def test_bf16_is_refused_on_a_gpu_without_it() -> None:
    with pytest.raises(UserError, match="no bf16"):
        choose_precision(SimpleNamespace(**{**UNSET, "bf16": True}), cuda=True, bf16_supported=False)
