"""What can be wrong, and how it is said: one problem type, one exception, one table of exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of every command of both halves."""

    OK = 0
    INTERNAL = 1
    INVALID = 2
    REFUSED = 3
    NO_CAPACITY = 4
    TRAINING_FAILED = 5
    INTERRUPTED = 6
    NOT_VERIFIED = 7
    REMOTE_REFUSED = 8
    CANCELLED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    `code` is a stable machine name (`unknown-key`, `wrong-type`, `missing-file`, …); `message` says what; `fix` says what to do about it, as a
    sentence or a command; `path` is the option's dotted path (`datasets[0].type`); `suggestion` is the nearest known name or value alone.
    `file`, `line` and `column` (both from 1) say where in a text; `place` says where when it is not a text: a folder, a URL, a run.
    """

    code: str
    message: str
    fix: str = ""
    path: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None
    place: str = ""
    suggestion: str | None = None

    @property
    def where(self) -> str:
        """`recipe.yml:14:3`, or the place, or the option path; empty when nothing is known."""
        if self.file:
            return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return self.place or self.path

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.fix}" if self.fix else head


class UserError(Exception):
    """Problems the user can mend; carries all of them at once and the exit code to end with. Shown without a traceback."""

    def __init__(self, problems: Problem | Iterable[Problem], *, exit_code: ExitCode = ExitCode.INVALID) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.exit_code = exit_code
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Callable[..., UserError], tuple[tuple[Problem, ...], ExitCode]]:
        """Problems and exit code, so that the error of another process arrives whole."""
        return _rebuilt, (self.problems, self.exit_code)


def _rebuilt(problems: tuple[Problem, ...], exit_code: ExitCode) -> UserError:
    return UserError(problems, exit_code=exit_code)
