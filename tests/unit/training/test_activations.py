"""Where activations wait changes nothing of a step but its memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.options.precision import SelectiveCheckpointing
from runtime.config.problem import UserError
from runtime.training.activations import clear, in_host_memory, offloading, on_disk, shape_checkpointing

pytestmark = pytest.mark.train


def config(**given: Any) -> SimpleNamespace:
    unset = {"selective_checkpointing": None, "activation_offloading": None, "gradient_checkpointing_kwargs": None}
    return SimpleNamespace(**{**unset, "gradient_checkpointing": True, **given})


def model(*, adapter: bool = False, architecture: str = "llama", **settings: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **{**shape, "use_cache": False, **settings}))
    if adapter:
        import peft

        torch.manual_seed(0)
        made = peft.get_peft_model(made, peft.LoraConfig(r=2, lora_dropout=0.3, target_modules="all-linear", init_lora_weights="gaussian"))
    return made.train()


def step(made: Any) -> tuple[Any, dict[str, Any]]:
    import torch

    ids = torch.randint(0, 32, (2, 24), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    loss = made(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in made.named_parameters() if parameter.grad is not None}


SHAPES = [
    {"gradient_checkpointing": "offload_disk"},
    {"activation_offloading": "disk"},
    {"selective_checkpointing": True},
    {"selective_checkpointing": SelectiveCheckpointing(save=["attention", "aten::mm"])},
    {"selective_checkpointing": SelectiveCheckpointing(save_sliding_window=True), "activation_offloading": "disk"},
]


@pytest.mark.parametrize("given", SHAPES)
@pytest.mark.parametrize("adapter", [False, True])
def test_a_step_is_bit_for_bit_that_of_plain_checkpointing(given: dict[str, Any], adapter: bool, tmp_path: Path) -> None:
    import torch

    plain, shaped = model(adapter=adapter), model(adapter=adapter)
    shape_checkpointing(shaped, config(**given), scratch=tmp_path / "a")
    for made in (plain, shaped):
        made.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    (loss, gradients), (shaped_loss, shaped_gradients) = step(plain), step(shaped)
    assert torch.equal(loss, shaped_loss)
    assert gradients.keys() == shaped_gradients.keys()
    assert len(gradients) > 10
    assert all(torch.equal(gradient, shaped_gradients[name]) for name, gradient in gradients.items())


def test_layer_inputs_lie_on_disk_between_the_passes_and_go_with_the_graph(tmp_path: Path) -> None:
    import torch

    made, folder = model(), tmp_path / "rank-0"
    shape_checkpointing(made, config(gradient_checkpointing="offload_disk"), scratch=folder)
    made.activation_checkpointing_enable()
    ids = torch.zeros((2, 24), dtype=torch.long)
    loss = made(input_ids=ids, labels=ids).loss
    kept = [torch.load(file, weights_only=True) for file in sorted(folder.iterdir())]
    assert [tuple(tensor.shape) for tensor in kept] == [(2, 24, 16)] * 2
    loss.backward()
    del loss
    assert list(folder.iterdir()) == []
    folder.joinpath("left.pt").write_bytes(b"")
    clear(folder)
    assert not folder.exists()


def operations(given: Any, **settings: Any) -> dict[str, int]:
    """How often a backward pass computes attention and matrix products."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    counts = {"attention": 0, "mm": 0}

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = str(func)
            counts["attention"] += "scaled_dot_product" in name and "backward" not in name
            counts["mm"] += name == "aten.mm.default"
            return func(*args, **(kwargs or {}))

    made = model(**settings)
    shape_checkpointing(made, config(selective_checkpointing=given), scratch=Path("unused"))
    made.activation_checkpointing_enable()
    ids = torch.zeros((1, 24), dtype=torch.long)
    loss = made(input_ids=ids, labels=ids).loss
    with Count():
        loss.backward()
    return counts


def test_saved_operations_are_not_computed_again() -> None:
    plain = operations(None)
    attention = operations(True)
    both = operations(SelectiveCheckpointing(save=["attention", "aten::mm"]))
    assert plain["attention"] == 2
    assert attention["attention"] == 0
    assert both["attention"] == 0
    # q, k, v, o, gate and up of two layers; the last product of a checkpointed layer is never computed again.
    assert plain["mm"] == attention["mm"]
    assert plain["mm"] - both["mm"] == 12


def test_attention_over_a_sliding_window_is_computed_again_unless_asked() -> None:
    sliding = {
        "num_key_value_heads": 2,
        "use_sliding_window": True,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    assert operations(True, architecture="qwen3", **sliding)["attention"] == 1
    assert operations(SelectiveCheckpointing(save_sliding_window=True), architecture="qwen3", **sliding)["attention"] == 0


def test_a_model_that_checkpoints_by_itself_is_refused(tmp_path: Path) -> None:
    import torch

    made: Any = torch.nn.Linear(1, 1)
    made.activation_checkpointing_enable = lambda: None
    shape_checkpointing(made, config(selective_checkpointing=True), scratch=tmp_path)
    with pytest.raises(UserError, match="only be plain"):
        made.activation_checkpointing_enable()


def test_options_name_their_place() -> None:
    assert on_disk(config(gradient_checkpointing="offload_disk"))
    assert on_disk(config(activation_offloading="disk"))
    assert not on_disk(config())
    assert not on_disk(config(activation_offloading=True))
    assert all(in_host_memory(config(activation_offloading=mode)) for mode in ("legacy", "hidden_states"))
    assert in_host_memory(config(gradient_checkpointing="offload"))
    assert not in_host_memory(config(activation_offloading=True))


def test_only_true_wraps_the_step() -> None:
    from contextlib import nullcontext

    assert isinstance(offloading(model(), config(activation_offloading="disk")), nullcontext)
