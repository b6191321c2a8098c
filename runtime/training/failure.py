"""What went wrong in a training process, said so that the user can act on it."""

from __future__ import annotations

from pathlib import Path

from runtime.checkpoint.disk import disk_error, looks_full
from runtime.config.problem import ExitCode, Problem, UserError

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "cublas_status_alloc_failed")
# Libraries written in Rust tell the system's error number in words alone: 28 no space, 27 file too large, 122 over quota.
_DISK_FULL = ("os error 28", "os error 27", "os error 122", "no space left", "file too large", "disk quota exceeded")


UNFORESEEN = "training-failed"
"""The code of a failure that nobody has words for."""
LOST = "machine-lost"
"""The code of the problem that another machine of the run is gone without a word."""
# How torch's back ends tell that the other side of a connection is not there, or says nothing.
_ABSENCE = (
    "connection closed by peer",
    "connection reset",
    "broken pipe",
    "connection refused",
    "connection was closed",
    "timed out",
)

_FAILED = "training failed: "
_OF_TORCH = tuple(_FAILED + name for name in ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError", "DistError"))


def explain(error: BaseException, *, output_dir: Path | None = None) -> UserError:
    """`error` as a UserError with exit code 5, unless it is one already: out of memory, a full disk, or the error's own first line. With `output_dir` its
    disk is looked at too."""
    if isinstance(error, UserError):
        return error
    text = str(error).strip()
    if ran_out_of_memory(error):
        return UserError(_out_of_memory(text), exit_code=ExitCode.TRAINING_FAILED)
    if any(sign in text.lower() for sign in _DISK_FULL) or (output_dir is not None and looks_full(error, output_dir)):
        return disk_error(OSError(28, "No space left on device"), output_dir or Path.cwd())
    first = text.splitlines()[0] if text else ""
    name = type(error).__name__
    return UserError(
        Problem(
            code=UNFORESEEN,
            message=f"{_FAILED}{name}: {first}" if first else f"{_FAILED}{name}",
            fix="LAUNCHER_DEBUG=1 shows where",
        ),
        exit_code=ExitCode.TRAINING_FAILED,
    )


def may_be_absence(failure: UserError) -> bool:
    """Whether this may be nothing but another process's end, as the one that waited for it meets it."""
    return any(problem.code == UNFORESEEN for problem in failure.problems)


def absence(failure: UserError) -> str | None:
    """How torch met a process that is not there, in a few words; None where this is another failure."""
    for problem in failure.problems:
        if problem.code == UNFORESEEN and problem.message.startswith(_OF_TORCH):
            said = problem.message.lower()
            return next((sign for sign in _ABSENCE if sign in said), "its connection broke" if "gloo" in said or "nccl" in said else None)
    return None


def lost(who: str, detail: str = "") -> UserError:
    """That `who`, a machine of the run, is gone without a word."""
    return UserError(
        Problem(
            code=LOST,
            message=f"{who} is gone without a word" + (f" ({detail})" if detail else ""),
            fix="the run goes on from its newest sealed checkpoint once all its machines are there again",
        ),
        exit_code=ExitCode.TRAINING_FAILED,
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in str(error).lower() for sign in _NO_MEMORY)
    )


def _out_of_memory(text: str) -> Problem:
    where = "the GPU" if "cuda" in text.lower() else "this machine"
    detail = next((line for line in text.splitlines() if "Tried to allocate" in line or "allocate" in line), "")
    return Problem(
        code="out-of-memory",
        message=f"{where} ran out of memory" + (f": {detail.strip()[:200]}" if detail else ""),
        fix="halve micro_batch_size and double gradient_accumulation_steps; set gradient_checkpointing: true; lower sequence_len; or `adapter: qlora` with load_in_4bit: true",
    )
