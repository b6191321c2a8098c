"""Options of the training loop: batches, steps, epochs, seeds, watchdogs."""

from pydantic import Field


class TrainingOptions:
    """How long and in which steps training goes."""

    micro_batch_size: int | None = Field(
        1,
        ge=1,
        description="Rows each device works on at once. Memory grows with it; the step's batch is this × `gradient_accumulation_steps` × devices.",
    )
    gradient_accumulation_steps: int | None = Field(
        1, ge=1, description="Micro batches whose gradients are added up before the optimizer steps: a larger batch without more memory."
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Rows of a device's whole step, from which `gradient_accumulation_steps` follows. Better to set that directly.",
    )
    eval_batch_size: int | None = Field(None, ge=1, description="Rows each device evaluates at once. Default: `micro_batch_size`.")
    auto_find_batch_size: bool | None = Field(
        None,
        description="Where the probe before training (`launch.probe`) finds that a step does not fit, take the next smaller divisor of `micro_batch_size` and as many more `gradient_accumulation_steps`: the same global batch, and slower. A run keeps what it came down to, also when it resumes. Unset: such a run is refused.",
    )
    num_epochs: float = Field(1.0, gt=0, description="Passes over the training data; fractions are fine.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimizer steps; wins over `num_epochs`.")
    seed: int | None = Field(None, ge=0, description="Seed of every random choice: shuffling, dropout, adapter start. Default: 42.")
    full_determinism: bool | None = Field(None, description="Only kernels that give the same bits every time; slower.")
    neftune_noise_alpha: float | None = Field(
        None,
        ge=0,
        description="NEFTune: noise on the input embeddings while training, scaled by this number. 5 is the paper's; unset: none.",
    )
    loss_watchdog_threshold: float | None = Field(
        None, gt=0, description="A loss above this counts as broken down; about twice the first loss is a good guess."
    )
    loss_watchdog_patience: int | None = Field(
        None, ge=1, description="Steps in a row above the threshold before training stops. Default: 3."
    )
    gc_steps: int | None = Field(
        None, ge=-1, description="Collect garbage every so many steps; -1 at the end of epochs and before evaluations; 0 or unset: never."
    )
    gc_collect_steps: int | None = Field(
        None,
        ge=-1,
        description="Like `gc_steps`, for Python's own garbage alone: the allocator's unused GPU memory stays (`torch_empty_cache_steps` gives that back).",
    )
    torch_empty_cache_steps: int | None = Field(
        None,
        ge=1,
        description="Give the allocator's unused GPU memory back every so many steps: avoids some out-of-memory errors, costs speed.",
    )
    trainer_cls: str | None = Field(
        None,
        description="Import path of a subclass of transformers.Trainer, importable where the run trains. Its loss, optimizer, logging and so on are used; saving, stopping and the order of rows stay the run's own. What state it keeps beyond the Trainer's is not in checkpoints.",
    )
    plugins: list[str] | None = Field(
        None,
        description="Extensions, by import path. Those of Axolotl that are built in here (`axolotl.integrations.liger.LigerPlugin`) need no entry, and keep one without harm. Any other entry is a class of your own, found beside the recipe, in `plugins/` beside it, or on PYTHONPATH; it may add options and take part in training.",
    )
    debug: bool | None = Field(
        None,
        description="Show samples token by token, each with its id, its label and its text: the first five after `preprocess`, the first one when training starts.",
    )
    strict: bool | None = Field(False, description="False, when written, turns unknown keys into warnings. Unset or true: they are errors.")
    use_eaft: bool | None = Field(
        None,
        description="Entropy-adaptive fine-tuning: weight the loss of a token by the entropy of the model's prediction, so that tokens it is sure of otherwise disturb what it knows less. Evaluation still shows the plain loss.",
    )
    eaft_alpha: float | None = Field(
        None, ge=0, description="EAFT: power of that weight, which lies between 0 and 1. Default: 1, the paper's."
    )
    eaft_k: int | None = Field(
        None,
        ge=2,
        description="EAFT: most likely tokens the entropy is taken over; it is divided by their logarithm. Default: 20, the paper's.",
    )
    use_dft: bool | None = Field(
        None,
        description="Dynamic fine-tuning: weight the loss of a token by the model's own probability for it, held constant. Evaluation still shows the plain loss.",
    )
    dense_mixer: bool | None = Field(None, description="Train routers of expert models through all experts (DenseMixer).")
    include_tokens_per_second: bool | None = Field(None, description="Report tokens per second at the end of training.")
    include_tkps: bool | None = Field(True, description="Report tokens per second of each device while training, padding not counted.")
