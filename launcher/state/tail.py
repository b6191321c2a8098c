"""Files that grow, read as they grow."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.events import Event


class TextTail:
    """What was appended to a text file since the last look; a missing file is an empty one."""

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def new(self) -> str:
        """The whole lines written since the last call, as one text."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                content = stream.read()
        except FileNotFoundError:
            return ""
        # Half a line stays for the next look.
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.decode("utf-8", errors="replace")

    def rest(self) -> str:
        """All that is left, half a line included; for when nobody writes any more."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                content = stream.read()
        except FileNotFoundError:
            return ""
        self.offset += len(content)
        return content.decode("utf-8", errors="replace")

    def last(self, count: int) -> list[str]:
        """The last lines written so far, whether they were read already or not."""
        return last_lines(self.path, count)


class EventTail:
    """The events appended to an event log since the last look."""

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self._text = TextTail(path, offset=offset)

    def new(self) -> list[Event]:
        """The whole events written since the last call; lines torn by a kill are skipped."""
        events: list[Event] = []
        for line in self._text.new().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "kind" in event:
                events.append(event)
        return events


def last_lines(path: Path, count: int, *, reach: int = 65536) -> list[str]:
    """The last `count` lines of a text file, looking at no more than its last `reach` bytes."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - reach))
            content = stream.read()
    except FileNotFoundError:
        return []
    return content.decode("utf-8", errors="replace").splitlines()[-count:]
