"""Values that name something: is there such a thing, and is it built?"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config import choices
from runtime.config.choices import Choices
from runtime.config.document import Path, dotted
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.spelling import nearest

# Names that are gone, and what took their place.
GONE = {
    "adamw": "adamw_torch",
    "adam": "adamw_torch",
    "AdamW": "adamw_torch",
    "lion": "lion_pytorch",
    "came": "came_pytorch",
    "plateau": "reduce_lr_on_plateau",
    "wsd": "warmup_stable_decay",
    "flash_attention": "flash_attention_2",
    "flash": "flash_attention_2",
    "flex": "flex_attention",
    "torch": "sdpa",
    "jsonl": "json",
    "txt": "text",
    "messages": "chat_template",
    "openai": "chat_template",
    "chatml": "chat_template",
    "chat": "chat_template",
    "text": "completion",
    "instruction": "alpaca",
    "default": "tokenizer_default",
    "tokenizer": "tokenizer_default",
}
# Those of SkyPilot 0.14 (sky/skylet/constants.py), and this machine.
CLOUDS = frozenset(
    (
        "local",
        "aws",
        "azure",
        "gcp",
        "ibm",
        "lambda",
        "scp",
        "oci",
        "kubernetes",
        "runpod",
        "vast",
        "vsphere",
        "cudo",
        "fluidstack",
        "paperspace",
        "primeintellect",
        "do",
        "nebius",
        "ssh",
        "slurm",
        "hyperbolic",
        "seeweb",
        "shadeform",
        "yotta",
        "mithril",
        "verda",
    )
)
# What is no adapter of its own.
ADAPTERS = {
    "dora": "Write `adapter: lora` and `peft_use_dora: true`.",
    "rslora": "Write `adapter: lora` and `peft_use_rslora: true`.",
    "full": "Leave `adapter` out to train the whole model.",
    "none": "Leave `adapter` out to train the whole model.",
    "dora+": "Write `adapter: lora`, `peft_use_dora: true` and `loraplus_lr_ratio: 16`.",
}
# Optimizers whose state is not in their state_dict, as found with galore-torch 1.0, apollo-torch 1.0.3, lomo-optim 0.1.1 and grokadamw 0.1.2, and the nearest that is.
FORGETFUL = {
    "galore_adamw_layerwise": "galore_adamw",
    "galore_adamw_8bit_layerwise": "galore_adamw_8bit",
    "galore_adafactor_layerwise": "galore_adafactor",
    "apollo_adamw_layerwise": "apollo_adamw",
    "adalomo": "lomo",
    "grokadamw": "adamw_torch_fused",
}
INITIALISATIONS = frozenset({"gaussian", "olora", "pissa", "orthogonal", "mica"})
INITIALISATIONS_NOT_BUILT = {
    "eva": "it needs a pass over the data before training",
    "corda": "it needs a pass over the data before training",
    "lora_ga": "it needs gradients of the data before training",
    "loftq": "peft computes it on a GPU and leaves a quantized base behind that no later load gives again",
}
_STYLES = ("instruct", "chat", "chatml", "phi")
SCORES = frozenset({"sacrebleu", "ter", "chrf", "perplexity"})
FILE_TYPES = frozenset({"json", "csv", "parquet", "arrow", "text"})


def optimizer_name(config: TrainingConfig) -> Iterator[Finding]:
    """The optimizer is one that exists, and whose state a checkpoint can hold."""
    if config.optimizer is not None and config.optimizer in FORGETFUL:
        yield Finding(
            code="unsupported",
            path=("optimizer",),
            message=f"the optimizer '{config.optimizer}' is refused: its package leaves part of its state out of checkpoints, so an interrupted run would go on wrongly",
            fix=f"Write `optimizer: {FORGETFUL[config.optimizer]}`.",
        )
        return
    yield from _named(config.optimizer, ("optimizer",), choices.optimizers())


def scheduler_name(config: TrainingConfig) -> Iterator[Finding]:
    """The learning-rate schedule is one that exists."""
    yield from _named(config.lr_scheduler, ("lr_scheduler",), choices.schedulers())


def adapter_name(config: TrainingConfig) -> Iterator[Finding]:
    """The adapter is a kind that exists."""
    fix = ADAPTERS.get((config.adapter or "").lower())
    if fix is not None:
        yield Finding(code="unknown-name", path=("adapter",), message=f"adapter: '{config.adapter}' is no kind of adapter", fix=fix)
        return
    yield from _named(config.adapter, ("adapter",), choices.adapters())


def attention_name(config: TrainingConfig) -> Iterator[Finding]:
    """The attention implementation exists; a name with a slash is a kernel on the Hub."""
    if config.attn_implementation is not None and "/" not in config.attn_implementation:
        yield from _named(config.attn_implementation, ("attn_implementation",), choices.attention())


def experts_name(config: TrainingConfig) -> Iterator[Finding]:
    """The way to compute experts is one transformers knows."""
    yield from _named(config.experts_implementation, ("experts_implementation",), choices.experts())


def adapter_start_name(config: TrainingConfig) -> Iterator[Finding]:
    """The start of the adapter is one peft knows."""
    start = config.peft_init_lora_weights
    if not isinstance(start, str) or start.startswith("pissa_niter_"):
        return
    if start in INITIALISATIONS_NOT_BUILT:
        yield Finding(
            code="unsupported",
            path=("peft_init_lora_weights",),
            message=f"the start of an adapter '{start}' is known, not supported here yet: {INITIALISATIONS_NOT_BUILT[start]}",
            fix="`pissa` starts from the base's own largest directions without any of that.",
        )
        return
    known = frozenset(INITIALISATIONS_NOT_BUILT)
    yield from _named(start, ("peft_init_lora_weights",), Choices(what="start of an adapter", built=INITIALISATIONS, known=known))


def dataset_type_names(config: TrainingConfig) -> Iterator[Finding]:
    """Prompt strategies exist."""
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        for index, source in enumerate(sources or ()):
            path: Path = (option, index, "type")
            if not isinstance(source.type, str):
                continue
            if source.type.startswith("sharegpt"):
                fix = "Write `type: chat_template`, `field_messages: conversations` and `message_property_mappings: {role: from, content: value}`."
                yield Finding(
                    code="unknown-name", path=path, message=f"the dataset type '{source.type}' is gone", fix=fix, suggestion="chat_template"
                )
            elif _own_module(source.type):
                yield Finding(
                    code="unsupported",
                    path=path,
                    message=f"the dataset type '{source.type}' is the path of a function of your own, which is not supported here",
                    fix="Describe columns and prompts under `type:`, or bring the rows as messages with `type: chat_template`.",
                )
            else:
                yield from _named(source.type, path, choices.dataset_types())


def _styled(name: str, known: Choices) -> bool:
    """Whether a type is a strategy with the style of its prompt behind it, as `reflection:chat`."""
    base, _, style = name.partition(":")
    return style in _STYLES and base in known.built | known.known


def _own_module(name: str) -> bool:
    """Whether a type is the import path of a function: dotted, and like no strategy there is."""
    known = choices.dataset_types().built | choices.dataset_types().known
    words = {entry.partition(".")[0].partition(":")[0] for entry in known}
    head = name.partition(".")[0]
    return "." in name and ":" not in name and name not in known and head not in words and nearest(head, words) is None


def file_type_names(config: TrainingConfig) -> Iterator[Finding]:
    """File formats exist."""
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        for index, source in enumerate(sources or ()):
            yield from _named(
                source.ds_type,
                (option, index, "ds_type"),
                Choices(what="file format", built=FILE_TYPES),
            )


def chat_template_names(config: TrainingConfig) -> Iterator[Finding]:
    """Chat templates exist; a name may also be a Jinja text, a file, or a fallback."""
    places: list[tuple[Path, str | None]] = [(("chat_template",), config.chat_template)]
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        places += [((option, index, "chat_template"), source.chat_template) for index, source in enumerate(sources or ())]
    for path, name in places:
        if name is not None and "{" not in name and not name.endswith((".jinja", ".jinja2", ".j2")):
            yield from _named(name.removeprefix("tokenizer_default_fallback_"), path, choices.chat_templates())


def score_names(config: TrainingConfig) -> Iterator[Finding]:
    """Scores of answers exist."""
    for index, name in enumerate(config.eval_causal_lm_metrics or ()):
        path = ("eval_causal_lm_metrics", index)
        if name == "comet":
            yield Finding(
                code="unsupported",
                path=path,
                message="the score 'comet' is not supported: its package unbabel-comet needs a transformers below 5 and a numpy below 2",
                fix=f"Use {', '.join(sorted(SCORES))}.",
            )
        else:
            yield from _named(name, path, Choices(what="score of answers", built=SCORES))


def cloud_names(config: TrainingConfig) -> Iterator[Finding]:
    """Clouds exist, and a region that brings its cloud along brings the one the run goes to."""
    launch, known = config.launch, Choices(what="cloud", built=CLOUDS)
    yield from _named(launch.cloud, ("launch", "cloud"), known)
    for index, region in enumerate(launch.regions):
        path: Path = ("launch", "region", index) if isinstance(launch.region, list) else ("launch", "region")
        cloud, slash, _ = region.partition("/")
        if slash and launch.cloud is None:
            yield from _named(cloud, path, known)
        elif slash and cloud in CLOUDS and cloud != launch.cloud:
            message = f"the region '{region}' is one of {cloud}, and `cloud` is {launch.cloud}"
            yield Finding(code="conflict", path=path, message=message, fix="Remove one of the two.")


def _named(name: str | None, path: Path, known: Choices) -> Iterator[Finding]:
    if name is None or name in known.built:
        return
    if name in known.known or (known.what == "dataset type" and _styled(name, known)):
        yield Finding(
            code="unsupported",
            path=path,
            message=f"the {known.what} '{name}' is known, not supported here yet",
            fix=f"`launcher explain {path[-1]}` lists what is.",
        )
        return
    gone = GONE.get(name)
    suggestion = gone if gone in known.built | known.known else nearest(name, sorted(known.built | known.known))
    fix = f"did you mean '{suggestion}'?" if suggestion else f"One of {', '.join(sorted(known.built))}."
    yield Finding(
        code="unknown-name", path=path, message=f"{dotted(path)}: there is no {known.what} '{name}'", fix=fix, suggestion=suggestion
    )


RULES = (
    optimizer_name,
    cloud_names,
    scheduler_name,
    adapter_name,
    attention_name,
    experts_name,
    adapter_start_name,
    dataset_type_names,
    file_type_names,
    chat_template_names,
    score_names,
)
