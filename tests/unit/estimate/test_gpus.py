import pytest

from launcher.estimate.gpus import find_gpu, gpu_kinds, parse_gpus
from runtime.config.problem import UserError


def test_the_table_is_whole() -> None:
    kinds = gpu_kinds()
    assert len(kinds) >= 32
    assert len({gpu.name for gpu in kinds}) == len(kinds)
    for gpu in kinds:
        assert 10 < gpu.capacity_gib < 300
        assert gpu.half_tflops > 10


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("A100:8", "A100", 8),
        ("a100-80gb", "A100-80GB", 1),
        ("H100:2", "H100", 2),
        ("Tesla T4", "T4", 1),
        ("A6000:1", "RTXA6000", 1),
        ("RTX 6000 Ada", "RTX6000-Ada", 1),
    ],
)
def test_names_are_read_in_the_ways_people_write_them(text: str, name: str, count: int) -> None:
    parsed = parse_gpus(text)
    assert (parsed.gpu.name, parsed.count) == (name, count)


@pytest.mark.parametrize("text", ["A1000:8", "A100:0", "A100:many", ""])
def test_what_is_no_gpu_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_gpus(text)
    assert caught.value.problems[0].fix


def test_a_card_without_bf16_has_none() -> None:
    t4 = find_gpu("T4")
    assert t4 is not None
    assert t4.bf16_tflops is None
    assert t4.half_tflops == 65
