"""Entries of `plugins:` that recipes of the public tool carry: the extensions it ships, and what each of them is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from runtime.config.spelling import nearest

PREFIX = "axolotl.integrations."


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """An extension of the public tool. `keys` are its options; a name that ends in `_` stands for all that begin so.

    `defaults` are options that follow from listing it alone. Only classes of extensions that can be used here are known by name.
    """

    name: str
    class_name: str = ""
    keys: tuple[str, ...] = ()
    defaults: tuple[tuple[str, bool | float], ...] = ()

    @property
    def entry(self) -> str:
        """Its entry as recipes write it."""
        return PREFIX + self.name + (f".{self.class_name}" if self.class_name else "")

    def owns(self, key: str) -> bool:
        """Whether `key` is one of its options."""
        return any(key == own or (own.endswith("_") and key.startswith(own)) for own in self.keys)


_ALL = (
    Shipped(name="liger", class_name="LigerPlugin", keys=("liger_",)),
    Shipped(
        name="cut_cross_entropy",
        class_name="CutCrossEntropyPlugin",
        keys=("cut_cross_entropy", "cut_cross_entropy_"),
        defaults=(("cut_cross_entropy", True),),
    ),
    Shipped(name="spectrum", class_name="SpectrumPlugin", keys=("spectrum_",)),
    Shipped(name="kd", class_name="KDPlugin", keys=("kd_",)),
    Shipped(name="lm_eval", class_name="LMEvalPlugin", keys=("lm_eval_",)),
    # The two numbers are the plugin's own defaults: a memory of 0.98 and twice the slow part (Lee et al. 2024, arXiv 2405.20233).
    Shipped(name="grokfast", class_name="GrokfastPlugin", keys=("grokfast_",), defaults=(("grokfast_alpha", 0.98), ("grokfast_lamb", 2.0))),
    Shipped(name="swanlab", class_name="SwanLabPlugin", keys=("swanlab_", "use_swanlab")),
    Shipped(name="densemixer", class_name="DenseMixerPlugin", keys=("dense_mixer",)),
    Shipped(name="diffusion", class_name="DiffusionPlugin", keys=("diffusion",)),
    Shipped(name="diffusion_decision", keys=("diffusion_decision",)),
    Shipped(name="expert_parallel", keys=("expert_parallel_",)),
    Shipped(name="context_parallel", keys=("context_parallel",)),
    Shipped(
        name="kernels",
        class_name="KernelsPlugin",
        keys=(
            "autotune_",
            "dsv4_",
            "expert_backend",
            "gemma4_fp8_nonexpert",
            "gemma4_nf4_nonexpert",
            "moe_",
            "nonexpert_quantization",
            "use_dsv4_kernels",
            "use_glm_dsa_kernels",
            "use_scattermoe",
            "use_sonicmoe",
        ),
    ),
    Shipped(name="llm_compressor", class_name="LLMCompressorPlugin", keys=("llmcompressor",)),
    Shipped(name="mora", keys=("mora",)),
    Shipped(name="nemo_gym", class_name="NemoGymPlugin", keys=("nemo_gym_",)),
    Shipped(name="hatchery", class_name="HatcheryPlugin", keys=("hatchery",)),
    Shipped(name="coreweave", keys=("coreweave",)),
    *(
        Shipped(name=name)
        for name in ("baseten", "modal", "nebius", "arctic_platform", "aux_free_router", "benchmark_api", "decision", "expert_offload")
    ),
)
SHIPPED = MappingProxyType({plugin.name: plugin for plugin in _ALL})


def is_shipped(entry: str) -> bool:
    """Whether an entry means an extension of the public tool, in full or in its short form `liger.LigerPlugin`; anything else is the user's own."""
    head, _, rest = entry.partition(".")
    return head == "axolotl" or (head in SHIPPED and rest.rpartition(".")[2] == SHIPPED[head].class_name != "")


def shipped(entry: str) -> Shipped | None:
    """The extension that an entry names: `axolotl.integrations.X`, with its class or without, or `X.Class`. None for a name that is not right."""
    if not is_shipped(entry):
        return None
    name, *rest = entry.removeprefix(PREFIX).split(".")
    found = SHIPPED.get(name)
    if found is None or (not rest and not entry.startswith(PREFIX)):
        return None
    # Modules between the package and the class are the public tool's own business: `liger.plugin.LigerPlugin` is read too.
    classes = [part for part in rest if not part.islower()]
    return found if not classes or not found.class_name or classes == [found.class_name] else None


def listed(entries: Iterable[str] | None) -> Iterator[Shipped]:
    """The extensions among the entries of `plugins:`."""
    for entry in entries or ():
        found = shipped(entry) if isinstance(entry, str) else None
        if found is not None:
            yield found


def owner_of(key: str) -> Shipped | None:
    """The extension that a top-level option belongs to."""
    return next((plugin for plugin in SHIPPED.values() if plugin.owns(key)), None)


def meant(entry: str) -> str | None:
    """The entry that a misspelt one was probably meant to be."""
    known = {plugin.entry for plugin in SHIPPED.values()}
    if entry.lower() in SHIPPED:
        return SHIPPED[entry.lower()].entry
    by_class = {plugin.class_name.lower(): plugin.entry for plugin in SHIPPED.values() if plugin.class_name}
    return by_class.get(entry.rpartition(".")[2].lower()) or nearest(entry, known)
