"""Writing checkpoints and the final model: staged by all processes, sealed by one, then kept or dropped and sent away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.retention import Keep, discard, prune
from runtime.checkpoint.sealing import open_staging, seal
from runtime.checkpoint.upload import Uploader
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank

Write = Callable[[Path], None]
Emit = Callable[..., None]


class Saver:
    """Seals what the run writes. `limit` checkpoints are kept, the newest always among them; `uploader` is None without a store."""

    def __init__(
        self,
        *,
        folder: RunFolder,
        rank: Rank,
        config_text: str,
        config_hash: str,
        emit: Emit,
        run: str = "",
        attempt: int = 1,
        limit: int | None = None,
        uploader: Uploader | None = None,
    ) -> None:
        self.last_save_s = 0.0
        self._folder = folder
        self._rank = rank
        self._config_text = config_text
        self._config_hash = config_hash
        self._emit = emit
        self._run = run
        self._attempt = attempt
        self._limit = limit
        self._uploader = uploader

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        return time.time()

    def save(self, step: int, write: Write, *, keep: int | None = None) -> None:
        """Seal the checkpoint of `step` that `write` puts into a folder; every process must call it. `keep` is a step that retention spares.

        Raises UserError when the disk refuses; earlier checkpoints are untouched then.
        """
        started = time.monotonic()
        self._emit("stage", step, name="seal")
        target = self._folder.checkpoint(step)
        manifest = self._seal(self._folder.checkpoints, target, write, step=step, kind="checkpoint")
        self._rank.barrier()
        seconds = time.monotonic() - started
        self.last_save_s = seconds
        if manifest is None:
            return
        self._emit("checkpoint", step, path=str(target), sealed=True, bytes=manifest.total_bytes, seconds=round(seconds, 3))
        kept = Keep(last=self._limit, best=frozenset() if keep is None else frozenset({keep}))
        if self._uploader is not None:
            self._uploader.submit(target, keep=kept)
        prune(self._folder.checkpoints, kept, protected=self._uploader.protected if self._uploader is not None else ())

    def save_final(self, step: int, write: Write) -> None:
        """Seal the final model that `write` puts into a folder, in place of an earlier one."""
        self._emit("stage", step, name="seal")
        target = self._folder.final
        manifest = self._seal(self._folder.path, target, write, step=step, kind="final")
        self._rank.barrier()
        if manifest is not None:
            self.send_final()

    def send_final(self) -> None:
        """Have the sealed final model sent to the store; nothing happens where it is already, or without a store."""
        if self._uploader is not None:
            self._uploader.submit(self._folder.final)

    def _seal(self, parent: Path, target: Path, write: Write, *, step: int, kind: Literal["checkpoint", "final"]) -> Manifest | None:
        with self._staged(parent) as staging:
            write(staging)
            self._rank.barrier()
            if not self._rank.is_main:
                return None
            (staging / "config.yml").write_text(self._config_text, encoding="utf-8")
            if kind == "final" and target.exists():
                # The weights of this training are sealed in its last checkpoint, so nothing is lost if a kill falls between these lines.
                discard(target)
            return seal(
                staging,
                target,
                step=step,
                config_hash=self._config_hash,
                world_size=self._rank.world_size,
                run=self._run,
                attempt=self._attempt,
                kind=kind,
            )

    @contextmanager
    def _staged(self, parent: Path) -> Iterator[Path]:
        if self._rank.is_main:
            with open_staging(parent) as staging:
                yield self._rank.share(staging)
            return
        staging = self._rank.share(None)
        try:
            yield staging
        except OSError as error:
            raise disk_error(error, parent) from error
