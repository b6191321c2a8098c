"""Writing checkpoints and the final model: staged by all processes, sealed by one, then kept or dropped and sent away."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.manifest import Manifest, read_manifest
from runtime.checkpoint.retention import Keep, discard, prune
from runtime.checkpoint.sealing import open_staging, seal
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import ExitCode, UserError
from runtime.publish.hub.copying import HubCopies
from runtime.training.deadline import Ending, Sizes, choose_ending
from runtime.training.errand import Errand
from runtime.training.folder import RunFolder
from runtime.training.pace import Pace
from runtime.training.processes import Rank

Write = Callable[[Path], None]
Emit = Callable[..., None]


class Saver:
    """Seals what the run writes. `limit` checkpoints are kept, the newest always among them, and those of steps that `every` divides; `uploader` is None without a store, `copies` without a Hub to copy to."""

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
        every: int | None = None,
        uploader: Uploader | None = None,
        copies: HubCopies | None = None,
    ) -> None:
        self.blocking_s = 0.0
        self.pace = Pace()
        self._last_bytes: int | None = None
        self._sealing = Errand("sealing")
        self._folder = folder
        self._rank = rank
        self._config_text = config_text
        self._config_hash = config_hash
        self._emit = emit
        self._run = run
        self._attempt = attempt
        self._limit = limit
        self._every = every
        self._uploader = uploader
        self._copies = copies

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        return time.time()

    def ending(self, left_s: float | None, sizes: Sizes, *, machine_stays: bool) -> Ending:
        """What to save when the run is killed in `left_s` seconds; `sizes` are those computed, which the last checkpoint's own size corrects."""
        if self._last_bytes is not None and sizes.full > 0:
            # Both grow alike: what is not a tensor, and what a sharded optimizer hides from this process.
            known = max(self._last_bytes, sizes.weights)
            sizes = Sizes(full=known, weights=min(known, max(sizes.weights, sizes.weights * known // sizes.full)))
        unsent = sum(_bytes_of(folder) for folder in self._uploader.protected) if self._uploader is not None and left_s is not None else 0
        speeds = self.pace.speeds(stores=self._uploader is not None, unsent=unsent)
        return choose_ending(left_s, sizes, speeds, machine_stays=machine_stays)

    def save(self, step: int, write: Write, *, keep: int | None = None, sends: bool = True) -> None:
        """Put the checkpoint of `step` together with `write`, and have it sealed while training goes on; every process must call it. `keep` is a step
        that retention spares; without `sends` it is not sent to the store.

        Raises UserError when the disk refuses, also for the checkpoint before, which is sealed by then; earlier ones are untouched. And when another
        process has taken this run over in the store.
        """
        started = time.monotonic()
        self._emit("stage", step, name="seal")
        self.settle()
        _require_ours(self._uploader)
        with ExitStack() as stack:
            staging = stack.enter_context(self._staged(self._folder.checkpoints))
            self._write(staging, write)
            self.blocking_s = time.monotonic() - started
            if self._rank.is_main:
                held = stack.pop_all()
                kept = Keep(last=self._limit, every=self._every, best=frozenset() if keep is None else frozenset({keep}))
                self._sealing.start(lambda: self._seal_checkpoint(held, staging, step, kept, started=started, sends=sends))

    def settle(self) -> None:
        """Wait until the last checkpoint is sealed. Raises UserError when that failed."""
        self._sealing.settle()

    def _seal_checkpoint(self, held: ExitStack, staging: Path, step: int, kept: Keep, *, started: float, sends: bool) -> None:
        target, blocking_s = self._folder.checkpoint(step), self.blocking_s
        with held:
            manifest = self._seal(staging, target, step=step, kind="checkpoint")
        seconds = time.monotonic() - started
        self._last_bytes = manifest.total_bytes
        self.pace.sealed(manifest.total_bytes, seconds)
        self._emit(
            "checkpoint",
            step,
            path=str(target),
            sealed=True,
            bytes=manifest.total_bytes,
            seconds=round(seconds, 3),
            blocking_s=round(blocking_s, 3),
        )
        self._drop_weights()
        if self._uploader is not None and sends:
            self._uploader.submit(target, keep=kept)
        if self._copies is not None:
            self._copies.submit(target)
        prune(self._folder.checkpoints, kept, protected=self._in_use(), sealed=step)

    def save_weights(self, step: int, write: Write) -> None:
        """Seal the weights that `write` puts into a folder, beside the checkpoints: they can be used, and training cannot go on from them exactly."""
        self._emit("stage", step, name="seal")
        manifest = self._seal_now(self._folder.path, self._folder.weights, write, step=step, kind="weights")
        if manifest is None:
            return
        self._emit("weights", step, path=str(self._folder.weights), sealed=True, bytes=manifest.total_bytes)
        if self._uploader is not None:
            self._uploader.submit(self._folder.weights)

    def save_final(self, step: int, write: Write) -> None:
        """Seal the final model that `write` puts into a folder, in place of an earlier one."""
        self._emit("stage", step, name="seal")
        target = self._folder.final
        manifest = self._seal_now(self._folder.path, target, write, step=step, kind="final")
        if manifest is not None:
            self._drop_weights()
            self.send_final()

    def send_final(self) -> None:
        """Have the sealed final model sent to the store; nothing happens where it is already, or without a store."""
        if self._uploader is not None:
            self._uploader.submit(self._folder.final)

    def _drop_weights(self) -> None:
        """Forget weights that a later full checkpoint, or the trained model, makes superfluous."""
        if self._folder.weights.is_dir() and self._folder.weights.absolute() not in self._in_use():
            discard(self._folder.weights)

    def _in_use(self) -> frozenset[Path]:
        """Checkpoints that are being sent somewhere, or are next to be."""
        senders = (self._uploader, self._copies)
        return frozenset(folder for sender in senders if sender is not None for folder in sender.protected)

    def _seal_now(self, parent: Path, target: Path, write: Write, *, step: int, kind: Literal["final", "weights"]) -> Manifest | None:
        """The manifest of what `write` put into `target`, None on processes that do not write it. Every process must call it."""
        self.settle()
        with self._staged(parent) as staging:
            self._write(staging, write)
            manifest = self._seal(staging, target, step=step, kind=kind) if self._rank.is_main else None
        self._rank.barrier()
        return manifest

    def _write(self, staging: Path, write: Write) -> None:
        with _without_crc():
            write(staging)
        if self._rank.is_main:
            (staging / "config.yml").write_text(self._config_text, encoding="utf-8")
        self._rank.barrier()

    def _seal(self, staging: Path, target: Path, *, step: int, kind: Literal["checkpoint", "final", "weights"]) -> Manifest:
        if kind != "checkpoint" and target.exists():
            # The weights of this training are sealed in its last checkpoint, or were older, so nothing is lost if a kill falls between these lines.
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


@contextmanager
def _without_crc() -> Iterator[None]:
    """Has torch write its files without the zip format's CRC-32 while the block runs: a step would wait for it as long as for the writing itself, nothing
    of torch reads it, and the seal sums every file beside the training."""
    if "torch" not in sys.modules:
        yield
        return
    from torch.serialization import get_crc32_options, set_crc32_options

    before = get_crc32_options()
    set_crc32_options(False)
    try:
        yield
    finally:
        set_crc32_options(before)


def _require_ours(uploader: Uploader | None) -> None:
    """Nothing, while this run is this process's. Raises UserError (exit 7): what it would go on to train, another one trains."""
    if uploader is not None and uploader.fenced is not None:
        raise UserError(uploader.fenced, exit_code=ExitCode.NOT_VERIFIED)


def _bytes_of(folder: Path) -> int:
    try:
        return read_manifest(folder).total_bytes
    except UserError:
        return 0
