"""Writing checkpoints and the final model: staged by all processes, sealed by one of each disk, then kept or dropped and sent away."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.manifest import Kind, Manifest, is_sealed, read_manifest
from runtime.checkpoint.portion import place_facts
from runtime.checkpoint.retention import Keep, discard, prune
from runtime.checkpoint.sealing import open_staging, seal
from runtime.checkpoint.tree import list_tree
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.publish.hub.copying import HubCopies
from runtime.training.deadline import Ending, Sizes, choose_ending
from runtime.training.disks import Disk
from runtime.training.errand import Errand
from runtime.training.failure import explain
from runtime.training.folder import RunFolder
from runtime.training.missed import Missed
from runtime.training.pace import Pace
from runtime.training.processes import Rank

Write = Callable[[Path], None]
Emit = Callable[..., None]


class Saver:
    """Seals what the run writes. `limit` checkpoints are kept, the newest always among them, and those of steps that `every` divides; `uploader` is None without a store, `copies` without a Hub to copy to.

    Where the machines of the run have disks of their own, each seals what it holds of a checkpoint, its portion; a checkpoint is what they come to in the
    store. The final model, and weights alone, are written by the first process of all and lie on its disk.
    """

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
        disk: Disk | None = None,
        uploader: Uploader | Follower | None = None,
        copies: HubCopies | None = None,
        say: Callable[[str], None] = lambda _sentence: None,
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
        self._disk = disk or Disk()
        self._uploader = uploader
        self._copies = copies
        self._missed = Missed(say)
        self._began = False

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        return time.time()

    def ending(self, left_s: float | None, sizes: Sizes, *, machine_stays: bool, spread: bool = False) -> Ending:
        """What to save when the run is killed in `left_s` seconds; `sizes` are those computed, which the last checkpoint's own size corrects. `spread`: all
        processes write a part of the weights."""
        if self._last_bytes is not None and sizes.full > 0:
            # Both grow alike: what is not a tensor, and what a sharded optimizer hides from this process.
            known = max(self._last_bytes, sizes.weights)
            sizes = Sizes(full=known, weights=min(known, max(sizes.weights, sizes.weights * known // sizes.full)))
        unsent = sum(_bytes_of(folder) for folder in self._uploader.protected) if self._uploader is not None and left_s is not None else 0
        speeds = self.pace.speeds(stores=self._uploader is not None, unsent=unsent)
        if not self._disk.apart:
            return choose_ending(left_s, sizes, speeds, machine_stays=machine_stays)
        # What only lies on the machines' disks is no checkpoint, whether they stay or not, and weights are no model unless one machine holds all of them.
        sizes = Sizes(full=sizes.full, weights=sizes.full) if spread else sizes
        ending = choose_ending(left_s, sizes, speeds, machine_stays=False)
        return ending if ending.sends else Ending(what="keep", sends=False)

    def save(self, step: int, write: Write, *, keep: int | None = None, sends: bool = True, bears: bool = False) -> None:
        """Put the checkpoint of `step` together with `write`, and have it sealed while training goes on; every process must call it. `keep` is a step
        that retention spares; without `sends` it is not sent to the store. With `bears`, a full disk costs the checkpoint and not the training, twice in
        a row. What one process cannot write ends or costs the same on all; `write` must not wait for one that has failed in it.

        Raises UserError when the disk refuses, also for the checkpoint before, which is sealed by then; earlier ones are untouched. And when another
        process has taken this run over in the store.
        """
        started = time.monotonic()
        self._emit("stage", step, name="seal")
        if not bears:
            self._rank.together(self._settle_ours)
            self._begin(step, write, started, keep=keep, sends=sends)
            self._began = True
            return
        if self._missed.bear(lambda: self._rank.together(self._settle_ours)) and self._began:
            self._missed.over()
        self._began = self._missed.bear(lambda: self._begin(step, write, started, keep=keep, sends=sends))

    def _begin(self, step: int, write: Write, started: float, *, keep: int | None, sends: bool) -> None:
        """Have the checkpoint written, and then sealed beside the training."""
        with ExitStack() as stack:
            parent = self._folder.portions if self._disk.apart else self._folder.checkpoints
            staging = stack.enter_context(self._staged(parent))
            self._write(staging, write)
            self.blocking_s = time.monotonic() - started
            if self._disk.is_served_by(self._rank):
                held = stack.pop_all()
                kept = Keep(last=self._limit, every=self._every, best=frozenset() if keep is None else frozenset({keep}))
                if self._disk.apart:
                    self._sealing.start(lambda: self._seal_portion(held, staging, step, kept, started=started))
                else:
                    self._sealing.start(lambda: self._seal_checkpoint(held, staging, step, kept, started=started, sends=sends))

    def sealed(self) -> bool:
        """Whether the last checkpoint is sealed, after waiting until that is known; every process must call it. A full disk is borne as by `save`."""
        self._began = self._missed.bear(lambda: self._rank.together(self.settle)) and self._began
        return self._began

    def settle(self) -> None:
        """Wait until the last checkpoint is sealed by this process. Raises UserError when that failed."""
        self._sealing.settle()

    def settle_together(self) -> None:
        """As `settle`, and what failed on one process is raised on all. Every process must call it."""
        self._rank.together(self.settle)

    def _settle_ours(self) -> None:
        self.settle()
        _require_ours(self._uploader)

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
        self._drop_weights(until=step)
        if isinstance(self._uploader, Uploader) and sends:
            self._uploader.submit(target, keep=kept)
        if self._copies is not None:
            self._copies.submit(target)
        prune(self._folder.checkpoints, kept, protected=self._in_use(), sealed=step)

    def _seal_portion(self, held: ExitStack, staging: Path, step: int, kept: Keep, *, started: float) -> None:
        """Seal what this machine holds of the checkpoint; with the portions of the others it becomes one in the store."""
        assert self._uploader is not None
        target, blocking_s = self._folder.portion(step), self.blocking_s
        try:
            with held:
                # Where only the first process writes, others have nothing to add.
                manifest = self._seal(staging, target, step=step, kind="portion") if list_tree(staging).files else None
        except UserError as error:
            if isinstance(self._uploader, Follower):
                # The head may be waiting for it.
                self._uploader.miss(step, error.problems[0].message)
            raise
        if manifest is not None:
            seconds = time.monotonic() - started
            self._last_bytes = manifest.total_bytes
            self.pace.sealed(manifest.total_bytes, seconds)
            self._emit(
                "portion", step, path=str(target), bytes=manifest.total_bytes, seconds=round(seconds, 3), blocking_s=round(blocking_s, 3)
            )
        if isinstance(self._uploader, Uploader):
            self._uploader.submit(target, keep=kept)
        else:
            self._uploader.submit(None if manifest is None else target, step=step)
        prune(self._folder.portions, kept, beside=self._folder.checkpoints, protected=self._in_use(), sealed=step)

    def save_weights(self, step: int, write: Write) -> None:
        """Seal the weights that `write` puts into a folder, beside the checkpoints: they can be used, and training cannot go on from them exactly."""
        self._emit("stage", step, name="seal")
        manifest = self._seal_now(self._folder.path, self._folder.weights, write, step=step, kind="weights")
        if manifest is None:
            return
        self._emit("weights", step, path=str(self._folder.weights), sealed=True, bytes=manifest.total_bytes)
        if isinstance(self._uploader, Uploader):
            self._uploader.submit(self._folder.weights)

    def save_final(self, step: int, write: Write) -> None:
        """Seal the final model that `write` puts into a folder, in place of an earlier one."""
        self._emit("stage", step, name="seal")
        target = self._folder.final
        manifest = self._seal_now(self._folder.path, target, write, step=step, kind="final")
        if manifest is not None:
            self._drop_weights(until=step)
            self.send_final()

    def send_final(self) -> None:
        """Have the sealed final model sent to the store; nothing happens where it is already, or without a store."""
        if isinstance(self._uploader, Uploader):
            self._uploader.submit(self._folder.final)

    def _drop_weights(self, *, until: int) -> None:
        """Forget weights that the full checkpoint of step `until`, or the trained model, makes superfluous; those of a later step are the best there is."""
        weights = self._folder.weights
        if (
            weights.is_dir()
            and weights.absolute() not in self._in_use()
            and not (is_sealed(weights) and read_manifest(weights).step > until)
        ):
            discard(weights)

    def _in_use(self) -> frozenset[Path]:
        """Checkpoints that are being sent somewhere, or are next to be."""
        senders = (self._uploader, self._copies)
        return frozenset(folder for sender in senders if sender is not None for folder in sender.protected)

    def _seal_now(self, parent: Path, target: Path, write: Write, *, step: int, kind: Literal["final", "weights"]) -> Manifest | None:
        """The manifest of what `write` put into `target`, None on processes that do not write it. Every process must call it."""
        self.settle_together()
        with self._staged(parent) as staging:
            self._write(staging, write)
            if self._disk.apart:
                self._refuse_strays(staging, kind)
            return self._rank.together((lambda: self._seal(staging, target, step=step, kind=kind)) if self._rank.is_main else None)

    def _refuse_strays(self, staging: Path, kind: str) -> None:
        """Raise UserError, on all processes, when another machine than the first has written something of a model that is sealed on the first."""
        own = self._disk.is_served_by(self._rank) and not self._rank.is_main
        strays = self._rank.gather(sorted(list_tree(staging).files) if own else [])
        found = [name for names in strays for name in names]
        if found:
            raise UserError(
                Problem(
                    code="portion-lost",
                    place=found[0],
                    message=f"{len(found)} files of the {kind} model were written on other machines than the first, which do not share its disk",
                    fix="have the whole model written by the first process, or set output_dir to a folder that all machines share",
                ),
                exit_code=ExitCode.TRAINING_FAILED,
            )

    def _write(self, staging: Path, write: Write) -> None:
        self._rank.together(lambda: self._write_own(staging, write))

    def _write_own(self, staging: Path, write: Write) -> None:
        try:
            with _without_crc():
                write(staging)
            if self._rank.is_main:
                (staging / "config.yml").write_text(self._config_text, encoding="utf-8")
        except UserError:
            raise
        except OSError as error:
            raise disk_error(error, staging) from error
        except Exception as error:
            # Libraries tell of a full disk in words of their own, and safetensors in an exception of its own.
            said = explain(error, output_dir=staging)
            if said.problems[0].code == "disk-full":
                raise said from error
            raise

    def _seal(self, staging: Path, target: Path, *, step: int, kind: Kind) -> Manifest:
        if kind in ("final", "weights") and target.exists():
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
            extra=place_facts(self._disk.index, self._disk.count) if kind == "portion" else None,
        )

    @contextmanager
    def _staged(self, parent: Path) -> Iterator[Path]:
        """A folder to write into, for all processes that share this one's disk. Raises UserError, on all processes, when one disk refuses."""
        with ExitStack() as stack:
            serves = self._disk.is_served_by(self._rank)
            opened = self._rank.together((lambda: stack.enter_context(open_staging(parent))) if serves else None)
            own: Path = self._rank.gather(opened)[self._disk.first]
            yield own


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


def _require_ours(uploader: Uploader | Follower | None) -> None:
    """Nothing, while this run is this process's. Raises UserError (exit 7): what it would go on to train, another one trains."""
    if uploader is not None and uploader.fenced is not None:
        raise UserError(uploader.fenced, exit_code=ExitCode.NOT_VERIFIED)


def _bytes_of(folder: Path) -> int:
    try:
        return read_manifest(folder).total_bytes
    except UserError:
        return 0
