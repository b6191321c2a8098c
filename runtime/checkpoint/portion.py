"""Portions: what each of several machines holds of one checkpoint, how they tell of it, and how all of them become one manifest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.checkpoint.board import Board
from runtime.checkpoint.manifest import Manifest, ManifestFile
from runtime.checkpoint.stored import folder_name
from runtime.config.problem import Problem

CALL, OVER = "call", "over"
"""Where the head calls, and where it says that it will not call again."""


class PortionError(Exception):
    """The portions do not make a checkpoint, and will not by waiting."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class Call(BaseModel):
    """The head's word that the portions of `step` are to be sent now. Under `CALL`; a later one takes the place of an earlier."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: int = Field(ge=1, description="Counts the calls.")
    step: int = Field(ge=0)


class Answer(BaseModel):
    """One machine's word on its portion of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    state: Literal["sent", "failing", "lost"] = Field(
        description="In the store and verified; not yet, and tried again; or never to be had, damaged or dropped."
    )
    manifest: Manifest | None = Field(
        default=None, description="Of what was sent, each file with its object; None where there is nothing to send."
    )
    message: str = Field(default="", description="Why it is not sent.")


def answer_key(call: Call, index: int) -> str:
    """Where machine `index` answers a call. The same step may be called for again, when what was sent for the first call is long cleaned up."""
    return f"answer/{call.number}/{index}"


def left_key(index: int) -> str:
    """Where machine `index` says that it looks at the board no more."""
    return f"left/{index}"


def alive_key(index: int) -> str:
    """Where machine `index` says something else now and then, as long as it is there."""
    return f"alive/{index}"


def read_call(board: Board) -> Call | None:
    """The head's newest call; None before its first. Raises as Board."""
    said = board.read(CALL)
    return None if said is None else Call.model_validate_json(said)


def read_answer(board: Board, call: Call, index: int) -> Answer | None:
    """What machine `index` says to a call; None while it says nothing. Raises as Board."""
    said = board.read(answer_key(call, index))
    return None if said is None else Answer.model_validate_json(said)


def merge(own: Manifest, others: Iterable[tuple[int, Manifest]], *, writer: str) -> Manifest:
    """The manifest of the whole checkpoint: the head's portion `own` and those of the other machines, told by their numbers.

    A file that two machines have is taken from the first, and must be the same. Raises PortionError when a portion is not of this step, this training
    and this `writer`, the part of their objects' names that no other life of the run uses.
    """
    files: dict[str, ManifestFile] = {file.path: file for file in own.files}
    prefix = f"{folder_name(own)}/{writer}-"
    for index, portion in others:
        if _state(portion) != _state(own):
            raise PortionError(_problem(own.step, index, "belongs to another training or another attempt"))
        for file in portion.files:
            if file.key is None or not file.key.startswith(prefix):
                raise PortionError(_problem(own.step, index, f"names {file.path} where this attempt writes nothing"))
            there = files.setdefault(file.path, file)
            if (there.size, there.checksum) != (file.size, file.checksum):
                raise PortionError(_problem(own.step, index, f"has another {file.path} than an earlier machine"))
    extra = {name: fact for name, fact in own.extra.items() if name not in _PLACE} | {"machines": own.extra.get("of", 1)}
    listed = tuple(files[path] for path in sorted(files))
    try:
        return Manifest.model_validate({**own.model_dump(), "kind": "checkpoint", "files": listed, "extra": extra})
    except ValidationError as error:
        raise PortionError(_problem(own.step, 0, f"does not go with the others: {error.errors()[0]['msg']}")) from error


_PLACE = ("portion", "of")


def place_facts(index: int, count: int) -> dict[str, int]:
    """What a portion's manifest says of itself: which it is, from 1, and of how many."""
    return dict(zip(_PLACE, (index + 1, count), strict=True))


def _state(manifest: Manifest) -> tuple[object, ...]:
    return (
        manifest.kind,
        manifest.run,
        manifest.step,
        manifest.config_hash,
        manifest.world_size,
        manifest.attempt,
        manifest.extra.get("of"),
    )


def _problem(step: int, index: int, what: str) -> Problem:
    return Problem(
        code="portion-lost", message=f"what machine {index + 1} holds of step {step} {what}", fix="the next checkpoint is tried anew"
    )
