"""Merging a trained adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.manifest import is_sealed, read_manifest
from runtime.checkpoint.retention import discard
from runtime.checkpoint.sealing import open_staging, seal
from runtime.checkpoint.staging import sweep_staging
from runtime.config.problem import Problem, UserError
from runtime.publish.card import read_facts, write_card
from runtime.publish.trained import is_adapter, load_base, load_trained_tokenizer, require_sealed, this_device


def merge(config: Any, final: Path) -> Path:
    """The folder of the merged model, `final/merged`, sealed; made anew unless it already belongs to this very adapter.

    The adapter goes into the base in 16 or 32 bits, also when it was trained over a quantized one, the whole model being in memory (`merge_method:
    legacy`). Raises UserError when there is no adapter, when it
    is damaged, or when merging gives numbers that are not finite.
    """
    require_sealed(final)
    if not is_adapter(final):
        raise UserError(
            Problem(
                code="conflict",
                place=str(final),
                message="this model has no adapter to merge: every parameter was trained",
                fix="use it as it is",
            )
        )
    manifest = read_manifest(final)
    target, source = final / "merged", digest_bytes(manifest.encode()).checksum
    if is_sealed(target) and read_manifest(target).extra.get("adapter") == source:
        return target
    sweep_staging(final)
    tokenizer = load_trained_tokenizer(final)
    base = load_base(config, final, tokenizer, device="cpu" if config.lora_on_cpu else this_device())
    from peft import PeftModel

    try:
        merged = PeftModel.from_pretrained(base, final, local_files_only=True).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(
            Problem(
                code="merge-failed",
                place=str(final),
                message=f"the adapter cannot be merged: {str(error).splitlines()[0]}",
                fix="use it as an adapter: `launch.publish.merge: false`",
            )
        ) from error
    with open_staging(final) as staging:
        merged.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        if (final / "config.yml").is_file():
            (staging / "config.yml").write_bytes((final / "config.yml").read_bytes())
        if (facts := read_facts(final)) is not None:
            write_card(staging, facts, merged=True)
        if target.exists():
            discard(target)
        seal(
            staging,
            target,
            step=manifest.step,
            config_hash=manifest.config_hash,
            world_size=1,
            run=manifest.run,
            attempt=manifest.attempt,
            kind="merged",
            extra={"adapter": source},
        )
    return target
