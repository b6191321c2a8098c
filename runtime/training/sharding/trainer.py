"""What of the Trainer's work differs where the training state is spread over the processes: preparing, saving and reading weights and optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import Trainer

from runtime.training.session import Session
from runtime.training.sharding.optimizer_state import is_stored, read_optimizer, write_optimizer
from runtime.training.sharding.weights import Formats, formats_of, say_format, whole_adapter, whole_weights, write_weights
from runtime.training.sharding.wrapping import complete, require_sharded, shard_on_cpu

SCHEDULER = "scheduler.pt"


class ShardingTrainer(Trainer):
    """Hugging Face's Trainer over shards, where `session.sharding` asks for them; the same as ever otherwise."""

    session: Session

    def __init__(self, **kwargs: Any) -> None:
        # The formats weights had before they were sharded, in which the final model is written.
        self._formats: Formats = formats_of(kwargs["model"]) if self.session.sharding is not None else {}
        super().__init__(**kwargs)

    @property
    def bare_model(self) -> Any:
        """The model without what training has put around it."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are spread over the processes by now; before training they are not."""
        return any(isinstance(parameter, DTensor) for parameter in self.model.parameters())

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        settings = super()._build_accelerator_args(**kwargs)
        if self.session.sharding is not None:
            complete(settings["fsdp_plugin"], self.session.sharding, mixed=self.args.mixed_precision)
            self._plugin = settings["fsdp_plugin"]
            if self.args.use_cpu:
                settings.pop("parallelism_config", None)
        return settings

    def create_accelerator_and_postprocess(self) -> None:
        """Accelerate as the Trainer makes it, sharding on CPUs too."""
        super().create_accelerator_and_postprocess()
        if self.session.sharding is not None and not self.is_fsdp_enabled:
            shard_on_cpu(self.accelerator, self._plugin, self.args.parallelism_config)
            self.is_fsdp_enabled = True

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> tuple[Any, Any]:
        model, train_dataloader = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if self.session.sharding is not None:
            require_sharded(model, self.session.sharding)
        return model, train_dataloader

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The model's loss. FSDP casts what enters the model: the count that the loss is divided by would be rounded to 8 bits, were it no whole number."""
        if self.session.sharding is not None and isinstance(num_items_in_batch, torch.Tensor):
            num_items_in_batch = num_items_in_batch.long()
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights as they train, or the adapter; of a sharded model every process writes its share."""
        sharding, rank = self.session.sharding, self.session.rank
        if sharding is None:
            super().save_model(output_dir, _internal_call=_internal_call)
            return
        folder, model = Path(output_dir or self.args.output_dir), self.bare_model
        if hasattr(model, "peft_config"):
            self._save(str(folder), state_dict=whole_adapter(model, rank))
            return
        write_weights(model, folder, rank, all_write=sharding.all_write)
        if rank.is_main and self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def save_whole(self, folder: Path) -> None:
        """Write the weights whole, in the format they were loaded in. Every process must call it; the first one writes."""
        model, rank = self.bare_model, self.session.rank
        self._save(str(folder), state_dict=whole_weights(model, rank, self._formats))
        if rank.is_main:
            say_format(model, folder, self._formats)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        sharding = self.session.sharding
        if sharding is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        write_optimizer(self.optimizer, self.model, Path(output_dir), self.session.rank, all_write=sharding.all_write)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or (self.session.sharding is None and not is_stored(Path(checkpoint))):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        if not (folder / SCHEDULER).is_file():
            # `save_only_model` leaves both out, and the Trainer begins them anew.
            return
        read_optimizer(self.optimizer, self.model, folder)
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER, map_location="cpu", weights_only=True))
