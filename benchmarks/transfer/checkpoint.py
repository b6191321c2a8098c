"""A sealed checkpoint to move: two big files, some shards, and the small ones that every checkpoint has."""

from __future__ import annotations

import random
from pathlib import Path

from runtime.checkpoint.sealing import new_staging, seal


def make_checkpoint(checkpoints: Path, size: int) -> Path:
    """A sealed checkpoint of about `size` bytes in 21 files, whose bytes no compression makes smaller."""
    chance = random.Random(1)
    block = chance.randbytes(1 << 22)
    staging = new_staging(checkpoints)
    shares = {"optimizer.pt": 0.55, "model-00001-of-00002.safetensors": 0.2, "model-00002-of-00002.safetensors": 0.2}
    shares |= {f"shard-{number}.pt": 0.005 for number in range(8)}
    shares |= {"tokenizer.json": 0.005}
    for name, share in shares.items():
        with (staging / name).open("wb") as stream:
            left = int(size * share)
            while left > 0:
                # Each piece differs, so that a store which keeps equal pieces once gains nothing.
                piece = chance.randbytes(16) + block[16 : min(left, len(block))]
                stream.write(piece[:left])
                left -= len(piece)
    for name in ("config.json", "adapter_config.json", "trainer_state.json", "rng_state.pth", "scheduler.pt", "session.json", "config.yml"):
        (staging / name).write_bytes(chance.randbytes(5_000))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (staging / name).write_bytes(chance.randbytes(2_000))
    final = checkpoints / "step-00000010"
    seal(staging, final, step=10, config_hash="bench", world_size=1, created=1.0)
    return final
