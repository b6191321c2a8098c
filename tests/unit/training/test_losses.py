"""The losses of a run are those of their papers, and none changes because logits are computed in parts, or not at all."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.training.losses.choice import RunLoss, loss_of
from runtime.training.losses.cut import CutCrossEntropy, rows_at_a_time, scale_and_softcap
from runtime.training.losses.deferred import DeferredLogits, Step, deferring
from runtime.training.losses.distillation import Distillation
from runtime.training.losses.parts import cost_in_parts
from runtime.training.losses.teacher import TeacherTokens, taken_from
from runtime.training.losses.tokens import EntropyAdaptive, cross_entropy, dynamic

pytestmark = pytest.mark.train

VOCABULARY = 61
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SIZES))


def qwen_tied() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=True))


def gemma_softcapped() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=3.0, query_pre_attn_scalar=8))


def cohere_scaled() -> Any:
    from transformers import CohereConfig, CohereForCausalLM

    return CohereForCausalLM(CohereConfig(**{name: size for name, size in SIZES.items() if name != "head_dim"}, logit_scale=0.3))


def granite_scaled() -> Any:
    from transformers import GraniteConfig, GraniteForCausalLM

    return GraniteForCausalLM(GraniteConfig(**{name: size for name, size in SIZES.items() if name != "head_dim"}, logits_scaling=2.5))


def experts() -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {**SIZES, "num_local_experts": 2, "num_experts_per_tok": 1}
    return MixtralForCausalLM(MixtralConfig(**sizes, output_router_logits=True, router_aux_loss_coef=0.5))


def adapted_head() -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    return get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False))


def copied_head() -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]))


MODELS = [llama, qwen_tied, gemma_softcapped, cohere_scaled, granite_scaled, experts, adapted_head, copied_head]


def made(build: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return build().train()


def batch(rows: int = 2, length: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) < 0.3, -100)
    return {"input_ids": ids, "labels": labels}


def teacher(inputs: dict[str, torch.Tensor], candidates: int = 4) -> TeacherTokens:
    generator = torch.Generator().manual_seed(5)
    shape = (*inputs["input_ids"].shape, VOCABULARY)
    ids = torch.rand(shape, generator=generator).topk(candidates).indices
    return TeacherTokens(ids, torch.randn(ids.shape, generator=generator))


def loss_and_gradients(model: Any, inputs: dict[str, torch.Tensor], loss: RunLoss | None = None, said: Any = None, **named: Any) -> Any:
    model.zero_grad()
    if loss is None:
        value = model(**inputs, use_cache=False, **named).loss
    else:
        with loss.computing(model, teacher=said):
            value = model(**inputs, use_cache=False, **named).loss
    value.backward()
    return value.detach(), {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def assert_same(one: Any, two: Any, **tolerance: Any) -> None:
    tolerance = {"atol": 2e-6, "rtol": 2e-5} | tolerance
    torch.testing.assert_close(one[0], two[0], **tolerance)
    assert one[1].keys() == two[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], two[1][name], msg=lambda said, name=name: f"{name}: {said}", **tolerance)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("items", [None, 40], ids=["mean", "over-items"])
def test_the_loss_in_parts_is_the_models_own_with_the_same_gradients(build: Callable[[], Any], items: int | None) -> None:
    model, inputs = made(build), batch()
    named = {} if items is None else {"num_items_in_batch": torch.tensor(items)}
    plain = loss_and_gradients(model, inputs, **named)
    assert_same(loss_and_gradients(model, inputs, RunLoss(cost=cross_entropy, parts=3), **named), plain)
    assert_same(loss_and_gradients(model, inputs, RunLoss(cost=cross_entropy), **named), plain)
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    assert "_loss_function" not in inner.__dict__
    assert "forward" not in inner.get_output_embeddings().__dict__
    assert model(**inputs).logits.shape == (*inputs["input_ids"].shape, VOCABULARY)


@pytest.mark.parametrize("build", [llama, gemma_softcapped, adapted_head], ids=lambda build: build.__name__)
@pytest.mark.parametrize(
    "cost", [dynamic, EntropyAdaptive(k=5, alpha=0.7), Distillation(soft=0.6, hard=0.4, temperature=1.7)], ids=["dft", "eaft", "kd"]
)
def test_every_cost_is_the_same_in_parts(build: Callable[[], Any], cost: Any) -> None:
    model, inputs = made(build), batch()
    whole, parts = (
        loss_and_gradients(model, inputs, RunLoss(cost=cost, parts=count), teacher(inputs), num_items_in_batch=30) for count in (None, 4)
    )
    assert_same(parts, whole)
    assert not torch.allclose(whole[0], loss_and_gradients(model, inputs, num_items_in_batch=30)[0])


def test_the_logits_of_all_tokens_never_exist() -> None:
    model, inputs = made(llama), batch(rows=2, length=33)
    seen: list[int] = []

    class Widest(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.shape[-1:] == (VOCABULARY,):
                seen.append(result.numel() // VOCABULARY)
            return result

    with Widest():
        loss_and_gradients(model, inputs, RunLoss(cost=cross_entropy, parts=2))
    counted = int((inputs["labels"][:, 1:] != -100).sum())
    assert max(seen) == -(-counted // 2) > SIZES["hidden_size"]
    with Widest():
        loss_and_gradients(model, inputs)
    assert max(seen) >= counted


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(0, 12), parts=st.integers(1, 15), width=st.integers(1, 5))
def test_any_number_of_tokens_in_any_number_of_parts(tokens: int, parts: int, width: int) -> None:
    torch.manual_seed(tokens * 100 + parts)
    head = torch.nn.Linear(width, 7, bias=True)
    hidden, target = torch.randn(tokens, width, requires_grad=True), torch.randint(0, 7, (tokens,))
    wanted = functional.cross_entropy(head(hidden), target, reduction="sum")
    inputs = [hidden, *head.parameters()]
    gradients = torch.autograd.grad(wanted, inputs, retain_graph=True)
    with deferring(head):
        logits = head(hidden)
    assert isinstance(logits, DeferredLogits)
    total = cost_in_parts(logits, hidden, target, cross_entropy, parts=parts)
    torch.testing.assert_close(total, wanted)
    for got, expected in zip(torch.autograd.grad(total, inputs), gradients, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("parts", [None, 3])
def test_shares_of_processes_and_micro_batches_add_up_to_the_mean_over_all_tokens(parts: int | None) -> None:
    model, inputs = made(llama), batch(rows=4)
    loss = RunLoss(cost=cross_entropy, parts=parts)
    whole = loss_and_gradients(model, inputs)
    count = (inputs["labels"][:, 1:] != -100).sum()
    model.zero_grad()
    total = torch.zeros(())
    for rows in (slice(0, 1), slice(1, 4)):
        with loss.computing(model):
            share = model(**{name: value[rows] for name, value in inputs.items()}, num_items_in_batch=count).loss
        share.backward()
        total += share.detach()
    assert_same((total, {name: part.grad for name, part in model.named_parameters()}), whole)


def test_a_micro_batch_without_trained_tokens_costs_nothing_and_reaches_every_parameter() -> None:
    model, inputs = made(llama), batch()
    inputs["labels"].fill_(-100)
    value, gradients = loss_and_gradients(model, inputs, RunLoss(cost=cross_entropy, parts=2), num_items_in_batch=5)
    assert value == 0
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    assert all((part == 0).all() for part in gradients.values())


def test_labels_that_stand_where_they_are_predicted_are_not_shifted_again() -> None:
    model, inputs = made(llama), batch()
    shifted = functional.pad(inputs["labels"], (0, 1), value=-100)[:, 1:]
    plain = loss_and_gradients(model, inputs)
    assert_same(loss_and_gradients(model, inputs, RunLoss(cost=cross_entropy, parts=2), shift_labels=shifted), plain)


@pytest.mark.parametrize("cost", [dynamic, EntropyAdaptive(), Distillation()], ids=["dft", "eaft", "kd"])
@pytest.mark.parametrize("parts", [None, 2])
def test_evaluation_takes_the_plain_loss(cost: Any, parts: int | None) -> None:
    model, inputs = made(llama).eval(), batch()
    with torch.no_grad(), RunLoss(cost=cost, parts=parts).computing(model, teacher=teacher(inputs)):
        value = model(**inputs).loss
    torch.testing.assert_close(value, model(**inputs).loss)


def test_sums_are_taken_in_32_bit_under_autocast() -> None:
    model, inputs = made(gemma_softcapped), batch()

    def value(loss: RunLoss | None) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_and_gradients(model, inputs, loss)

    plain, parts = value(None), value(RunLoss(cost=cross_entropy, parts=3))
    assert parts[0].dtype == torch.float32
    assert_same(parts, plain, atol=2e-3, rtol=2e-2)


# What tokens cost


def test_dynamic_fine_tuning_weighs_by_the_models_own_probability_held_constant() -> None:
    logits = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)
    target = torch.arange(6)
    probability = logits.softmax(-1)[torch.arange(6), target]
    torch.testing.assert_close(dynamic(logits, target), -probability * probability.log())
    # The gradient of -p log p with p held constant outside the logarithm is that of -p itself.
    (got,) = torch.autograd.grad(dynamic(logits, target).sum(), logits)
    (wanted,) = torch.autograd.grad(-probability.sum(), logits)
    torch.testing.assert_close(got, wanted)


def test_entropy_adaptive_weights_lie_between_certainty_and_indifference() -> None:
    target = torch.tensor([0, 0])
    logits = torch.tensor([[50.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    plain = cross_entropy(logits, target)
    torch.testing.assert_close(EntropyAdaptive(k=3)(logits, target), plain * torch.tensor([0.0, 1.0]))
    skewed = torch.tensor([[math.log(8.0), math.log(2.0), -30.0]])
    share = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / math.log(2)
    torch.testing.assert_close(EntropyAdaptive(k=2, alpha=2.0)(skewed, target[:1]), cross_entropy(skewed, target[:1]) * share**2)
    logits.requires_grad_()
    (got,) = torch.autograd.grad(EntropyAdaptive(k=3)(logits, target)[1], logits)
    (wanted,) = torch.autograd.grad(cross_entropy(logits, target)[1], logits)
    torch.testing.assert_close(got, wanted)


# Distillation


def everything(scores: torch.Tensor) -> TeacherTokens:
    return TeacherTokens(torch.arange(scores.shape[-1]).expand(scores.shape).contiguous(), scores)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("normalized", [False, True])
def test_with_all_tokens_as_candidates_it_is_the_divergence_of_the_distributions(temperature: float, normalized: bool) -> None:
    torch.manual_seed(0)
    logits, scores = torch.randn(5, 7), torch.randn(5, 7).log_softmax(-1)
    cost = Distillation(temperature=temperature, normalized=normalized)(logits, torch.zeros(5, dtype=torch.long), everything(scores))
    p, q = (scores / temperature).log_softmax(-1), (logits / temperature).log_softmax(-1)
    torch.testing.assert_close(cost, temperature**2 * functional.kl_div(q, p, reduction="none", log_target=True).sum(-1))


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_other_divergences(beta: float) -> None:
    torch.manual_seed(0)
    logits, scores = torch.randn(5, 7), torch.randn(5, 7)
    cost = Distillation(beta=beta, normalized=True)(logits, torch.zeros(5, dtype=torch.long), everything(scores))
    p, q = scores.softmax(-1), logits.softmax(-1)

    def divergence(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return (one * (one / two).log()).sum(-1)

    m = beta * p + (1 - beta) * q
    wanted = divergence(q, p) if beta == 1 else beta * divergence(p, m) + (1 - beta) * divergence(q, m)
    torch.testing.assert_close(cost, wanted)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_filled_up_candidates_and_silent_tokens_change_nothing_and_break_no_gradient(beta: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 9, requires_grad=True)
    target = torch.tensor([4, 5])
    short = TeacherTokens(torch.tensor([[3, 1], [2, 8]]), torch.tensor([[-0.1, -2.0], [-0.5, -1.0]]))
    nothing = -math.inf
    filled = TeacherTokens(torch.tensor([[3, 1, 0], [0, 0, 0]]), torch.tensor([[-0.1, -2.0, nothing], [nothing] * 3]))
    cost = Distillation(soft=0.7, hard=0.3, beta=beta, normalized=True, temperature=1.5)
    got = cost(logits, target, filled)
    torch.testing.assert_close(got[0], cost(logits, target, short)[0])
    torch.testing.assert_close(got[1], 0.3 * cross_entropy(logits, target)[1])
    (gradient,) = torch.autograd.grad(got.sum(), logits)
    assert torch.isfinite(gradient).all()


def test_a_model_that_says_what_its_teacher_says_costs_nothing_and_stays() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 9, requires_grad=True)
    scores, ids = logits.detach().log_softmax(-1).topk(4)
    for beta in (0.0, 0.4, 1.0):
        cost = Distillation(beta=beta, normalized=True, temperature=2.0)(
            logits, torch.zeros(3, dtype=torch.long), TeacherTokens(ids, scores)
        )
        torch.testing.assert_close(cost, torch.zeros(3), atol=1e-6, rtol=0)
        torch.testing.assert_close(torch.autograd.grad(cost.sum(), logits)[0], torch.zeros(3, 9), atol=1e-6, rtol=0)


def test_the_temperature_falls_along_half_a_cosine() -> None:
    cost = Distillation(temperature=4.0, lowest=2.0)
    seen = []
    for cost.progress in (0.0, 0.5, 1.0):
        seen.append(cost.present)
    assert seen == pytest.approx([4.0, 3.0, 2.0])


def test_what_is_said_of_a_token_counts_where_it_is_predicted() -> None:
    inputs: dict[str, Any] = {"teacher_ids": torch.arange(6).view(1, 3, 2), "teacher_scores": torch.zeros(1, 3, 2), "labels": 1}
    said = taken_from(inputs)
    assert said is not None
    assert list(inputs) == ["labels"]
    assert said.shifted().ids.tolist() == [[[2, 3], [4, 5], [0, 0]]]
    assert said.shifted().scores[0, 2].tolist() == [-math.inf, -math.inf]
    assert taken_from({"labels": 1}) is None


# Cut cross entropy


def product_kernel(e: Any, c: Any, targets: Any, softcap: Any = None, reduction: str = "mean", impl: str = "cce") -> Any:
    """What the package computes, in its own number format, without its kernels."""
    assert e.dtype == c.dtype == torch.bfloat16
    assert impl == "cce"
    logits = (e @ c.T).float()
    return functional.cross_entropy(logits if softcap is None else softcap * torch.tanh(logits / softcap), targets, reduction=reduction)


def cut(**settings: Any) -> RunLoss:
    return RunLoss(cost=cross_entropy, cut=CutCrossEntropy(kernel=product_kernel, settings={"impl": "cce", **settings}))


@pytest.mark.parametrize("build", [build for build in MODELS if build is not adapted_head], ids=lambda build: build.__name__)
def test_the_kernel_is_given_what_the_head_and_the_model_would_do(build: Callable[[], Any]) -> None:
    model, inputs = made(build), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = loss_and_gradients(model, inputs, num_items_in_batch=20)
        got = loss_and_gradients(model, inputs, cut(), num_items_in_batch=20)
    assert_same(got, plain, atol=5e-3, rtol=5e-2)


def test_the_package_agrees_with_what_stands_for_it() -> None:
    reason = "cut-cross-entropy is not installed here (extra `kernels`)"
    linear_cross_entropy = pytest.importorskip("cut_cross_entropy", exc_type=ImportError, reason=reason).linear_cross_entropy
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 16), torch.randn(VOCABULARY, 16)
    target = torch.arange(7)
    wanted = functional.cross_entropy(2.0 * torch.tanh(hidden @ weight.T / 2.0), target, reduction="sum")
    torch.testing.assert_close(linear_cross_entropy(hidden, weight, target, softcap=2.0, reduction="sum", impl="torch_compile"), wanted)
    # One of them must take every argument the other is called with.
    assert {"softcap", "reduction", "impl"} <= inspect.signature(linear_cross_entropy).parameters.keys()


def test_no_tokens_reach_no_kernel_and_every_parameter() -> None:
    model, inputs = made(llama), batch()
    inputs["labels"].fill_(-100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = loss_and_gradients(model, inputs, cut(), num_items_in_batch=5)
    assert value == 0
    assert gradients.keys() == {name for name, _ in model.named_parameters()}


def test_a_head_or_a_format_the_kernel_cannot_take_is_refused() -> None:
    inputs = batch()
    with pytest.raises(UserError, match="16 bit"):
        loss_and_gradients(made(llama), inputs, cut())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match="one plain matrix"):
            loss_and_gradients(made(adapted_head), inputs, cut())
        model = made(llama)
        model.lm_head = torch.nn.Linear(16, VOCABULARY, bias=True)
        with pytest.raises(UserError, match="bias"):
            loss_and_gradients(model, inputs, cut())


def test_steps_on_logits_as_a_factor_and_a_bound() -> None:
    capped = (Step("to", torch.float32), Step("mul", 0.5), Step("div", 30.0), Step("tanh"), Step("mul", 30.0))
    assert scale_and_softcap(capped) == (0.5, 30.0)
    assert scale_and_softcap((Step("div", 4.0),)) == (0.25, None)
    assert scale_and_softcap(()) == (1, None)
    with pytest.raises(UserError):
        scale_and_softcap((Step("tanh"),))


def test_rows_of_a_head_that_fit_in_a_gibibyte() -> None:
    assert rows_at_a_time(32_000, 4096) == 0
    rows = rows_at_a_time(256_000, 4096)
    assert rows % 128 == 0
    assert rows * 4096 * 4 <= 2**30 < (rows + 128) * 4096 * 4


def test_a_missing_package_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", None)
    with pytest.raises(UserError, match="kernels"):
        loss_of(recipe(cut_cross_entropy=True))


@pytest.mark.parametrize(("option", "value"), [("cut_cross_entropy_accum_c_fp32", True), ("cut_cross_entropy_c_grad_chunk_size", 256)])
def test_an_option_goes_to_a_package_that_has_it_and_no_other(option: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(e: Any, c: Any, targets: Any, bias: Any = None, accum_c_fp32: bool = False, c_grad_chunk_size: int = 0) -> None: ...

    asked = recipe(cut_cross_entropy=True, **{option: value})
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", SimpleNamespace(linear_cross_entropy=product_kernel))
    with pytest.raises(UserError, match="installed"):
        loss_of(asked)
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", SimpleNamespace(linear_cross_entropy=newer))
    loss = loss_of(asked)
    assert loss is not None
    assert loss.cut is not None
    assert loss.cut.takes_bias
    assert loss.cut.settings == {"impl": "cce", option.removeprefix("cut_cross_entropy_"): value}


# What the recipe chooses, and what cannot be


def recipe(**options: Any) -> Any:
    return TrainingConfig.model_validate({"base_model": "m", "learning_rate": 1.0, "datasets": [{"path": "d", "type": "alpaca"}]} | options)


def test_the_recipe_decides() -> None:
    assert loss_of(recipe()) is None
    chunked = loss_of(recipe(chunked_cross_entropy=True, chunked_cross_entropy_num_chunks=5, use_dft=True))
    assert chunked is not None
    assert (chunked.cost, chunked.parts) == (dynamic, 5)
    default = loss_of(recipe(chunked_cross_entropy=True))
    assert default is not None
    assert (default.cost, default.parts) == (cross_entropy, 8)
    adaptive = loss_of(recipe(use_eaft=True, eaft_k=7))
    assert adaptive is not None
    assert isinstance(adaptive.cost, EntropyAdaptive)
    assert (adaptive.cost.k, adaptive.cost.alpha) == (7, 1.0)
    distilled = loss_of(
        recipe(
            kd_trainer=True, kd_alpha=0.9, kd_ce_alpha=0.1, kd_beta=0.5, kd_normalize_topk=True, kd_temperature=2.0, kd_temperature_min=1.0
        )
    )
    assert distilled is not None
    assert distilled.cost == Distillation(soft=0.9, hard=0.1, beta=0.5, normalized=True, temperature=2.0, lowest=1.0)


def test_a_model_that_computes_its_own_loss_is_refused() -> None:
    model, inputs = made(llama), batch()
    with pytest.raises(UserError, match="by itself"), RunLoss(cost=dynamic).computing(model):
        model(input_ids=inputs["input_ids"])


def test_a_model_that_bends_its_logits_is_refused() -> None:
    logits = DeferredLogits(torch.zeros(2, 3), torch.nn.Linear(3, 4))
    for bend in (lambda: torch.softmax(logits, -1), lambda: logits + 1, lambda: logits[..., :2], lambda: logits.clamp(0)):
        with pytest.raises((UserError, TypeError)):
            bend()
    assert not hasattr(logits, "dtype")
