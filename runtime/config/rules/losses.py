"""Rules about the loss: one a run, and settings that belong to it."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

# Dataset type with a teacher's log probabilities.
TAUGHT = "axolotl.integrations.kd.chat_template"
# Settings, and the option without which they say nothing.
BELONGS = {
    "chunked_cross_entropy_num_chunks": "chunked_cross_entropy",
    "cut_cross_entropy_accum_c_fp32": "cut_cross_entropy",
    "cut_cross_entropy_c_grad_chunk_size": "cut_cross_entropy_accum_c_fp32",
    "eaft_alpha": "use_eaft",
    "eaft_k": "use_eaft",
    "kd_alpha": "kd_trainer",
    "kd_ce_alpha": "kd_trainer",
    "kd_beta": "kd_trainer",
    "kd_normalize_topk": "kd_trainer",
    "kd_temperature": "kd_trainer",
    "kd_temperature_min": "kd_trainer",
    "kd_online_server_base_url": "kd_trainer",
    "kd_online_server": "kd_online_server_base_url",
    "kd_online_timeout": "kd_online_server_base_url",
    "kd_online_topk": "kd_online_server_base_url",
}
OWN_LOSS = ("chunked_cross_entropy", "cut_cross_entropy", "use_dft", "use_eaft", "kd_trainer")
_ROWS = 128


def loss_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of a loss stand beside it."""
    for name, owner in BELONGS.items():
        if given(config, name) and not getattr(config, owner):
            yield Finding(
                code="conflict",
                path=(name,),
                involves=(owner,),
                message=f"'{name}' has no effect without '{owner}'",
                fix=f"Add `{owner}`, or remove it.",
            )


def rows_of_head(config: TrainingConfig) -> Iterator[Finding]:
    """Cut cross entropy's kernels work on 128 rows of the head at a time."""
    rows = config.cut_cross_entropy_c_grad_chunk_size
    if isinstance(rows, int) and (rows < 0 or rows % _ROWS):
        yield Finding(
            code="out-of-range",
            path=("cut_cross_entropy_c_grad_chunk_size",),
            message=f"cut_cross_entropy_c_grad_chunk_size must be a multiple of {_ROWS}, found {rows}",
            fix="Write `auto`, or 4096.",
        )


def cut_in_half_precision(config: TrainingConfig) -> Iterator[Finding]:
    """Cut cross entropy's backward pass takes 16-bit numbers."""
    if config.cut_cross_entropy and config.float32:
        yield Finding(
            code="conflict",
            path=("float32",),
            involves=("cut_cross_entropy",),
            message="'cut_cross_entropy' computes gradients in 16 bit alone, and 'float32' trains in 32",
            fix="Write `bf16: auto`, or use `chunked_cross_entropy: true`.",
        )


def head_left_whole(config: TrainingConfig) -> Iterator[Finding]:
    """Cut cross entropy takes the head's matrix, not a head with an adapter beside it."""
    targets = config.lora_target_modules
    named = targets if isinstance(targets, list) else [targets]
    if config.cut_cross_entropy and "lm_head" in named:
        yield Finding(
            code="conflict",
            path=("lora_target_modules",),
            involves=("cut_cross_entropy",),
            message="'cut_cross_entropy' takes the head as one matrix, and 'lora_target_modules' puts an adapter beside 'lm_head'",
            fix="Put lm_head into `lora_modules_to_save`, or use `chunked_cross_entropy: true`.",
        )


def teacher_present(config: TrainingConfig) -> Iterator[Finding]:
    """Distillation has a teacher, and a teacher's rows have a distillation."""
    taught = [source.type == TAUGHT for source in config.datasets or ()]
    if config.kd_trainer and config.kd_online_server_base_url:
        if any(taught):
            yield Finding(
                code="conflict",
                path=("datasets", taught.index(True), "type"),
                involves=("kd_online_server_base_url",),
                message=f"'datasets[{taught.index(True)}]' brings a teacher's log probabilities, and 'kd_online_server_base_url' asks another teacher",
                fix="Keep one of them: `type: chat_template` for the server's.",
            )
    elif config.kd_trainer and config.datasets and not any(taught):
        yield Finding(
            code="missing",
            path=("datasets", 0, "type"),
            involves=("kd_trainer",),
            message="'kd_trainer' needs a teacher, and no dataset has one's log probabilities",
            fix=f"Write `type: {TAUGHT}` at datasets that have them, or name a server in `kd_online_server_base_url`.",
        )
    elif config.kd_trainer and not all(taught) and not config.kd_ce_alpha:
        yield Finding(
            code="conflict",
            path=("kd_ce_alpha",),
            involves=("kd_trainer",),
            message=f"nothing is learnt from 'datasets[{taught.index(False)}]': it has no teacher, and 'kd_ce_alpha' is 0",
            fix="Set `kd_ce_alpha`, or leave the dataset out.",
        )
    if not config.kd_trainer:
        for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
            for index, source in enumerate(sources or ()):
                if source.type == TAUGHT:
                    yield Finding(
                        code="missing",
                        path=("kd_trainer",),
                        involves=(option,),
                        message=f"'{option}[{index}].type' brings a teacher's log probabilities, which only 'kd_trainer' learns from",
                        fix="Add `kd_trainer: true`, or write `type: chat_template`.",
                    )
                    return


def teacher_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of a teacher's log probabilities stand at a dataset that has them."""
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        for index, source in enumerate(sources or ()):
            for name in ("logprobs_field", "temperature"):
                if getattr(source, name) is not None and source.type != TAUGHT:
                    message = f"'{option}[{index}].{name}' has no effect: it belongs to `type: {TAUGHT}`"
                    yield Finding(code="conflict", path=(option, index, name), message=message, fix="Remove it, or change the type.")


def teacher_compared(config: TrainingConfig) -> Iterator[Finding]:
    """Parts of a distribution can be compared one way round only, and a temperature falls."""
    if config.kd_trainer and config.kd_beta and not config.kd_normalize_topk:
        yield Finding(
            code="missing",
            path=("kd_normalize_topk",),
            involves=("kd_beta",),
            message=f"'kd_beta: {config.kd_beta:g}' needs 'kd_normalize_topk': without it the model would be rewarded for tokens the teacher does not name",
            fix="Add `kd_normalize_topk: true`, or remove kd_beta.",
        )
    if config.kd_trainer and not (1.0 if config.kd_alpha is None else config.kd_alpha):
        yield Finding(
            code="conflict",
            path=("kd_alpha",),
            involves=("kd_trainer",),
            message="'kd_alpha' is 0: nothing would be learnt from the teacher",
            fix="Leave it out, or remove kd_trainer.",
        )
    lowest, start = config.kd_temperature_min, 1.0 if config.kd_temperature is None else config.kd_temperature
    if config.kd_trainer and lowest is not None and lowest >= start:
        yield Finding(
            code="conflict",
            path=("kd_temperature_min",),
            involves=("kd_temperature",),
            message=f"kd_temperature_min ({lowest:g}) must be below kd_temperature ({start:g}), from which it falls",
            fix="Raise kd_temperature, or remove it.",
        )


def supervised_loss(config: TrainingConfig) -> Iterator[Finding]:
    """Methods that learn from preferences, rewards or scores have losses of their own."""
    method = next((name for name in ("rl", "reward_model", "process_reward_model") if given(config, name)), None)
    for name in OWN_LOSS if method is not None else ():
        if getattr(config, name):
            yield Finding(
                code="conflict",
                path=(name,),
                involves=(method or "",),
                message=f"'{name}' is a loss of supervised fine-tuning, and '{method}' has one of its own",
                fix="Keep one of them.",
            )


def compiled_whole(config: TrainingConfig) -> Iterator[Finding]:
    """A compiled model has no place for a loss that takes its head apart."""
    if config.torch_compile not in (True, "auto"):
        return
    for name in OWN_LOSS:
        if getattr(config, name):
            yield Finding(
                code="conflict",
                path=("torch_compile",),
                involves=(name,),
                message=f"'{name}' changes the model's forward pass at every step, and 'torch_compile' compiles it once",
                fix="Keep one of them.",
            )


RULES = (
    loss_settings_used,
    rows_of_head,
    cut_in_half_precision,
    head_left_whole,
    teacher_present,
    teacher_settings_used,
    teacher_compared,
    supervised_loss,
    compiled_whole,
)
