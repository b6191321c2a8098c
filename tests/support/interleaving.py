"""Every order in which the requests of several writers can reach one store, with a death or a failure at each of them.

A program is a function of a store and of nothing else, so it is what the store answered it so far. It is stepped by running it anew with those
answers up to the first request that has none; two paths that lead to the same store and the same answers are one state and are explored once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from runtime.checkpoint.checksum import Digest, digest_bytes
from runtime.checkpoint.store import Capabilities, Stat, Store
from runtime.checkpoint.transit import Arrived, nobody

Content = Mapping[str, bytes]
Program = Callable[[Store], object]
CHANGES = frozenset({"put", "create", "replace", "delete", "copy"})
DEAD = -1


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a store; `content` is what is written, `version` the one that is to be replaced, or the key that is to be copied."""

    kind: Literal["put", "create", "replace", "delete", "get", "list", "folders", "stat", "copy"]
    key: str
    content: bytes = b""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class InTurn:
    """In place of a pool of threads: one piece of work after another, as a program that is stepped needs it."""

    def __init__(self, *_args: object, **_options: object) -> None: ...

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_reason: object) -> None: ...

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(function, items)


class _Paused(BaseException):
    """The program asks what has not been answered yet."""


def answer(held: Content, request: Request) -> tuple[Content, object]:
    """What the store holds afterwards, and what it answers: a value, or the class of the error it raises."""
    present = held.get(request.key)
    match request.kind:
        case "get":
            return held, FileNotFoundError if present is None else present
        case "stat":
            return held, None if present is None else _stat(request.key, present)
        case "list":
            return held, tuple(_stat(key, held[key]) for key in sorted(held) if key.startswith(request.key))
        case "folders":
            below = [key.removeprefix(request.key).partition("/") for key in held if key.startswith(request.key)]
            return held, tuple(sorted({name for name, slash, _ in below if slash}))
        case "delete":
            return {key: content for key, content in held.items() if key != request.key}, None
        case "copy":
            origin = held.get(request.version)
            return (held, FileNotFoundError) if origin is None else ({**held, request.key: origin}, None)
        case "create" if present is not None:
            return held, FileExistsError
        case "replace" if present is None or _version(present) != request.version:
            return held, FileExistsError
    return {**held, request.key: request.content}, None


class ScriptedStore:
    """A Store whose answers are given; `honours` says whether conditions are offered."""

    def __init__(self, answers: Iterator[object], honours: Capabilities, asked: Callable[[Request], None] = lambda _request: None) -> None:
        self.capabilities = honours
        self._answers = answers
        self._asked = asked
        self._over = False

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        content = source.read_bytes()
        if origin is not None:
            with suppress(FileNotFoundError):
                self._ask(Request("copy", key, version=origin))
                return replace(digest_bytes(content), copied=True)
        self._ask(Request("put", key, content))
        return digest_bytes(content)

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        if (create and not self.capabilities.conditional_put) or (replaces is not None and not self.capabilities.conditional_replace):
            raise ValueError("this condition is not honoured here")
        kind: Any = "create" if create else "put" if replaces is None else "replace"
        self._ask(Request(kind, key, content, replaces or ""))

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        content = self._ask(Request("get", key))
        target.write_bytes(content)
        arrived(len(content))
        return digest_bytes(content)

    def read(self, key: str) -> Iterator[bytes]:
        yield self._ask(Request("get", key))

    def list(self, prefix: str) -> Iterator[Stat]:
        yield from self._ask(Request("list", prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        yield from self._ask(Request("folders", prefix))

    def stat(self, key: str) -> Stat | None:
        found: Stat | None = self._ask(Request("stat", key))
        return found

    def delete(self, key: str) -> None:
        self._ask(Request("delete", key))

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None: ...

    def url(self, key: str = "") -> str:
        return f"memory://{key}"

    def _ask(self, request: Request) -> Any:
        if self._over:
            raise _Paused
        self._asked(request)
        try:
            said = next(self._answers)
        except StopIteration:
            self._over = True
            raise _Paused from None
        if isinstance(said, type) and issubclass(said, Exception):
            raise said(str(request))
        return said


class HeldStore(ScriptedStore):
    """A Store that answers from what it holds in `content`."""

    def __init__(self, content: Content, honours: Capabilities) -> None:
        self.content = content
        super().__init__(iter(()), honours)

    def _ask(self, request: Request) -> Any:
        self.content, said = answer(self.content, request)
        if isinstance(said, type) and issubclass(said, Exception):
            raise said(str(request))
        return said


@dataclass(slots=True)
class Script:
    """A program as a tree: a node is what it was answered so far, and holds its next request or its end."""

    program: Program
    honours: Capabilities
    _answers: list[tuple[object, ...]] = field(default_factory=list)
    _next: list[Request | None] = field(default_factory=list)
    _results: list[object] = field(default_factory=list)
    _ids: dict[tuple[int, object], int] = field(default_factory=dict)

    def start(self) -> int:
        return self._node(-1, None, ())

    def request(self, node: int) -> Request | None:
        """What it asks there; None when it has ended."""
        return self._next[node]

    def result(self, node: int) -> object:
        """What the program returned."""
        return self._results[node]

    def went(self, node: int) -> tuple[object, ...]:
        return self._answers[node]

    def after(self, node: int, said: object) -> int:
        return self._node(node, said, (*self._answers[node], said))

    def _node(self, parent: int, said: object, answers: tuple[object, ...]) -> int:
        known = self._ids.get((parent, said))
        if known is not None:
            return known
        asked: list[Request] = []
        result: object = None
        try:
            result = self.program(ScriptedStore(iter(answers), self.honours, asked.append))
            following = None
        except _Paused:
            following = asked[-1]
        self._answers.append(answers)
        self._next.append(following)
        self._results.append(result)
        self._ids[parent, said] = len(self._answers) - 1
        return len(self._answers) - 1


@dataclass(frozen=True, slots=True)
class State:
    """The store, where each program is (`DEAD` for one that was killed), and how many failures are still to come."""

    store: int
    nodes: tuple[int, ...]
    faults: int


@dataclass(kw_only=True)
class Explorer:
    """Walks every state. `on_change(before, after, who, request)` sees every change of the store, `on_end(content, results)` every end; a result is
    what the program returned, None when it died. Both raise AssertionError for what may not be."""

    programs: Sequence[Program]
    honours: Capabilities
    on_change: Callable[[Content, Content, int, Request], None]
    on_end: Callable[[Content, tuple[object, ...]], None]
    kills: bool = True
    faults: int = 0
    wrong_bytes: bool = False
    limit: int | None = None
    complete: bool = field(default=False, init=False)
    """Whether every state was seen; False when `limit` ended the walk."""
    _stores: list[Content] = field(default_factory=list, init=False)
    _store_ids: dict[frozenset[tuple[str, bytes]], int] = field(default_factory=dict, init=False)
    _answered: dict[tuple[int, Request], tuple[int, object]] = field(default_factory=dict, init=False)

    def walk(self, content: Content) -> int:
        """The number of states seen. Raises AssertionError with the shortest known path to what may not be."""
        scripts = [Script(program, self.honours) for program in self.programs]
        first = State(self._store(content), tuple(script.start() for script in scripts), self.faults)
        origin: dict[State, tuple[State, str] | None] = {first: None}
        # Breadth first, so that the path to a failure is a short one.
        level = [first]
        while level:
            following: list[State] = []
            for state in level:
                try:
                    for label, reached in self._steps(scripts, state):
                        if reached not in origin:
                            origin[reached] = (state, label)
                            following.append(reached)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{_path(origin, state)}") from error
            if self.limit is not None and len(origin) > self.limit:
                return len(origin)
            level = following
        self.complete = True
        return len(origin)

    def _steps(self, scripts: Sequence[Script], state: State) -> Iterator[tuple[str, State]]:
        running = False
        for who, node in enumerate(state.nodes):
            request = None if node == DEAD else scripts[who].request(node)
            if request is None:
                continue
            running = True
            reached, said = self._ask(state.store, request)
            yield from self._step(scripts, state, who, request, reached, said, "")
            if self.kills:
                yield f"{who} dies before: {request}", _moved(state, who, DEAD)
            if state.faults:
                spent = State(state.store, state.nodes, state.faults - 1)
                yield from self._step(scripts, spent, who, request, state.store, ConnectionError, " FAILS")
                if request.kind in CHANGES:
                    yield from self._step(scripts, spent, who, request, reached, ConnectionError, " is done, and its answer lost")
                if self.wrong_bytes and isinstance(said, bytes):
                    yield from self._step(scripts, spent, who, request, reached, _spoilt(said), " gives WRONG BYTES")
        if not running:
            results = tuple(None if node == DEAD else scripts[who].result(node) for who, node in enumerate(state.nodes))
            self.on_end(self._stores[state.store], results)

    def _step(
        self, scripts: Sequence[Script], state: State, who: int, request: Request, reached: int, said: object, note: str
    ) -> Iterable[tuple[str, State]]:
        if reached != state.store:
            try:
                self.on_change(self._stores[state.store], self._stores[reached], who, request)
            except AssertionError as error:
                raise AssertionError(f"{error}\nby: {who}: {request}{note}") from error
        node = scripts[who].after(state.nodes[who], said)
        moved = _moved(state, who, node)
        yield f"{who}: {request}{note}", State(reached, moved.nodes, moved.faults)

    def _ask(self, store: int, request: Request) -> tuple[int, object]:
        known = self._answered.get((store, request))
        if known is None:
            content, said = answer(self._stores[store], request)
            known = self._answered[store, request] = (self._store(content), said)
        return known

    def _store(self, content: Content) -> int:
        key = frozenset(content.items())
        if key not in self._store_ids:
            self._store_ids[key] = len(self._stores)
            self._stores.append(content)
        return self._store_ids[key]


def _stat(key: str, content: bytes) -> Stat:
    return Stat(key=key, size=len(content), version=_version(content))


def _version(content: bytes) -> str:
    # As an ETag does: the same content again is the same version.
    return digest_bytes(content).checksum


def _spoilt(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1]) if content else b"!"


def _moved(state: State, who: int, node: int) -> State:
    return State(state.store, (*state.nodes[:who], node, *state.nodes[who + 1 :]), state.faults)


def _path(origin: Mapping[State, tuple[State, str] | None], state: State) -> str:
    lines: list[str] = []
    at = origin[state]
    while at is not None:
        state, label = at
        lines.append(f"  {label}")
        at = origin[state]
    return "\n".join(reversed(lines))
