"""Liger's functions are called with what the recipe names and nothing else; what they lack is refused by name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model import liger
from runtime.model.liger import apply_liger, liger_settings, require_liger

pytestmark = pytest.mark.train

OPTIONS = (*liger._ARGUMENTS, "liger_use_token_scaling", "liger_kernel_impl")


def config(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**dict.fromkeys(OPTIONS), **values})


def llama(
    rope: bool = True,
    cross_entropy: bool = False,
    fused_linear_cross_entropy: bool = True,
    rms_norm: bool = True,
    swiglu: bool = True,
    model: Any = None,
) -> None:
    """The shape of the package's functions."""
    CALLS.append({"rope": rope, "rms_norm": rms_norm, "swiglu": swiglu, "fused": fused_linear_cross_entropy, "plain": cross_entropy})


def gemma(rope: bool = True, geglu: bool = True, model: Any = None) -> None:
    """One with the other activation, which refuses its first kernel."""
    if rope:
        raise NotImplementedError("there is no rope of gemma")


CALLS: list[dict[str, bool]] = []
FUNCTIONS = {"llama": llama, "gemma": gemma}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the package; gives its module of functions."""
    CALLS.clear()
    names = ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch", "liger_kernel.transformers.functional")
    for name in names:
        module = ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules[names[2]].MODEL_TYPE_TO_APPLY_LIGER_FN = FUNCTIONS  # type: ignore[attr-defined]
    sys.modules[names[3]].liger_fused_linear_cross_entropy = lambda x, use_token_scaling=False: (x, use_token_scaling)  # type: ignore[attr-defined]
    monkeypatch.setattr(liger, "load_architecture", lambda _: SimpleNamespace(model_type="llama"))
    return sys.modules[names[3]]


def test_only_what_the_recipe_names_is_put_in(package: ModuleType) -> None:
    apply_liger(config(liger_rope=True, liger_glu_activation=True, liger_rms_norm=False))
    assert CALLS == [{"rope": True, "rms_norm": False, "swiglu": True, "fused": False, "plain": False}]
    assert package.liger_fused_linear_cross_entropy(1) == (1, False)


def test_nothing_asked_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liger, "_imported", lambda *_: pytest.fail("imported"))
    apply_liger(config())
    require_liger(config(), cuda=False)


def test_token_scaling_is_bound_to_the_loss_once(package: ModuleType) -> None:
    for _ in range(2):
        apply_liger(config(liger_fused_linear_cross_entropy=True, liger_use_token_scaling=True))
    assert package.liger_fused_linear_cross_entropy(1) == (1, True)
    assert not isinstance(package.liger_fused_linear_cross_entropy.func, functools.partial)


def test_the_activation_has_the_name_of_its_architecture() -> None:
    assert liger_settings(["liger_glu_activation"], "gemma", FUNCTIONS) == {"geglu": True, "rope": False}


def test_what_an_architecture_lacks_is_refused_by_name() -> None:
    with pytest.raises(UserError) as caught:
        liger_settings(["liger_rope", "liger_layer_norm", "liger_rms_norm_gated"], "llama", FUNCTIONS)
    assert [problem.path for problem in caught.value.problems] == ["liger_layer_norm", "liger_rms_norm_gated"]
    assert "liger_glu_activation" in caught.value.problems[0].fix
    with pytest.raises(UserError, match="nothing for the architecture mpt"):
        liger_settings(["liger_rope"], "mpt", FUNCTIONS)


def test_a_kernel_the_function_itself_refuses_is_told(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liger, "load_architecture", lambda _: SimpleNamespace(model_type="gemma"))
    with pytest.raises(UserError, match="there is no rope of gemma"):
        apply_liger(config(liger_rope=True))


def test_a_machine_without_a_gpu_or_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="this machine has none") as caught:
        require_liger(config(liger_rms_norm=True), cuda=False)
    assert caught.value.problems[0].path == "liger_rms_norm"
    monkeypatch.setattr(liger, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="not installed") as caught:
        require_liger(config(liger_rms_norm=True), cuda=True)
    assert "[kernels]" in caught.value.problems[0].fix


def test_the_implementation_is_chosen_before_the_package_is_imported(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGER_KERNEL_IMPL", "")
    require_liger(config(liger_rope=True, liger_kernel_impl="cutile"), cuda=True)
    assert liger.os.environ["LIGER_KERNEL_IMPL"] == "cutile"
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", ModuleType("liger_kernel.ops"))
    require_liger(config(liger_rope=True, liger_kernel_impl="cutile"), cuda=True)
    with pytest.raises(UserError, match="imported already"):
        require_liger(config(liger_rope=True, liger_kernel_impl="cutedsl"), cuda=True)


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="liger_kernel is not installed here")
def test_the_functions_of_the_package_have_the_arguments_that_are_known_here() -> None:
    functions = importlib.import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN
    asked = ["liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_fused_linear_cross_entropy"]
    assert liger_settings(asked, "llama", functions) == {
        "cross_entropy": False,
        "fused_linear_cross_entropy": True,
        "rms_norm": True,
        "rope": True,
        "swiglu": True,
    }
    assert liger_settings(["liger_layer_norm", "liger_glu_activation"], "gemma3", functions)["geglu"] is True
