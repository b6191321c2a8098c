"""The base class of a user's plugin. Its hooks carry the names that users of Axolotl know."""

# ruff: noqa: ARG002 - a hook has the arguments that its overrides use

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

# Hooks of the public tool's base class that nothing here calls, and why. A plugin that has one is refused, so that none is passed over.
NOT_CALLED = MappingProxyType(
    {
        "get_trainer_cls": "the trainer of a run seals its checkpoints and answers stops; use callbacks, create_optimizer or post_trainer_create",
        "get_training_args": "the trainer's arguments follow from the recipe's options; set those",
        "get_training_args_mixin": "the trainer's arguments follow from the recipe's options; add options with get_input_args",
        "get_collator_cls_and_kwargs": "packed samples are kept apart by the batches made here",
        "load_datasets": "data are named under `datasets:` and prepared once; a file with `input_ids` and `labels` can hold rows made elsewhere",
    }
)


class Plugin:
    """A plugin. Every method may be left out; each is called on every process of a run, at the first start and at every resumption.

    `cfg` is the checked recipe: `cfg.learning_rate`, and the plugin's own options by their names. A run that was killed must end with the same
    weights as one that was not, so what a hook does may depend on `cfg`, the step and the weights alone, or on state that `state_dict` keeps.
    The module is also imported where there is no torch, to check recipes: import torch inside the hooks.
    """

    def get_input_args(self) -> type[BaseModel] | str | None:
        """The plugin's options: a pydantic model, or its import path as text. Its fields become options of the recipe's top level.

        Types are those YAML has: texts, numbers, true or false, lists, mappings, `Literal`, and models of such.
        """
        return None

    def register(self, cfg: Any) -> None:
        """Called once in each process, before any other hook."""

    def pre_model_load(self, cfg: Any) -> None:
        """Before the base model is loaded."""

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """The base model is loaded, and its embeddings fit the tokenizer. Merging, evaluating and chatting load it, too."""

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Before the adapter is put on the base model; only with `adapter:`."""

    def post_lora_load(self, cfg: Any, model: Any) -> None:
        """The adapter is on the model; only with `adapter:`."""

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """The model that learns is complete, with or without an adapter. A resumption loads the checkpoint's weights after this."""

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[Any]:
        """transformers' TrainerCallbacks that the trainer starts with."""
        return []

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """The trainer exists; its optimizer does not yet."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """TrainerCallbacks that need the trainer."""
        return []

    def create_optimizer(self, cfg: Any, trainer: Any) -> Any:
        """The optimizer, in place of the recipe's; None leaves the recipe's. Its state is kept in every checkpoint."""
        return None

    def create_lr_scheduler(self, cfg: Any, trainer: Any, optimizer: Any, num_training_steps: int) -> Any:
        """The learning-rate schedule, in place of the recipe's; None leaves the recipe's. Its state is kept in every checkpoint."""
        return None

    def post_train(self, cfg: Any, model: Any) -> None:
        """Training is over and the final model is sealed. Called again when a run dies after this and is started again."""

    def post_train_unload(self, cfg: Any) -> None:
        """The same, after the model has left the memory."""

    def state_dict(self) -> dict[str, Any] | None:
        """What a resumption needs to go on as if nothing had happened, as plain JSON values; asked at every checkpoint, of the first process."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave, on every process, before the first resumed step."""


# Called or asked here. `get_input_args` is asked when a recipe is checked, the others while it runs.
HOOKS = frozenset(name for name in vars(Plugin) if not name.startswith("_"))
