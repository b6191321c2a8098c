"""The word by which a process marks what it sends, kept on the disk: one that takes its place goes on with what it had sent."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path

from runtime.checkpoint.owner import owner_of, this_owner, work_name

_NAME = ".uploader"


def lasting_word(folder: Path, *, attempt: int) -> str:
    """A word that no other living process of this machine uses, kept in the run's `folder`.

    It is the one of the process before when that is dead and was of the same attempt: a restart, and no new life of the run. A disk that refuses only
    costs what would have been taken up.
    """
    word = secrets.token_hex(4)
    kept = folder / _NAME
    with suppress(OSError, ValueError, KeyError, TypeError):
        # Only one of several that come at once gets hold of it.
        mine = folder / work_name(f"{_NAME}-")
        kept.rename(mine)
        said = json.loads(mine.read_text(encoding="utf-8"))
        mine.unlink()
        owner = owner_of(said["owner"], "")
        if owner is not None and owner.life() == "dead" and said["attempt"] == attempt and str(said["word"]).isalnum():
            word = said["word"]
    with suppress(OSError):
        partial = folder / work_name(f"{_NAME}-")
        partial.write_text(json.dumps({"word": word, "attempt": attempt, "owner": f"{this_owner()}-0"}), encoding="utf-8")
        partial.replace(kept)
    return word
