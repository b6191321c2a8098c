"""A recipe's text as values, and where in the text each of them stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from runtime.config.problem import Problem

Path = tuple[str | int, ...]

# YAML 1.1 wants a dot and a sign in a float, so `1e-5` reads as text there; nobody who writes it means text.
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "binary", "value", "merge")}
_NOT_ALLOWED = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LARGEST = 2**63 - 1  # what the training stack and JSON readers keep exactly as a whole number
_DEEPEST = 50  # levels; a recipe has five or six
_OPENING = re.compile(r"[\[{:?-]")  # every level of nesting costs one of these characters
_HARMLESS = 1_000  # levels that the C composer, which knows no limit, builds without overflowing its stack
_MOST_VALUES = 50_000  # far above any recipe; stops texts whose aliases multiply without end


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a key stands: line and column from 1, or the `--set` that put it there. `file` is set where that is not the document's own."""

    line: int | None = None
    column: int | None = None
    origin: str = ""
    file: str = ""


@dataclass(slots=True, kw_only=True)
class Document:
    """Values of a recipe with the position of each path. List elements have positions too; aliases keep those of their anchor."""

    file: str
    text: str
    values: dict[Any, Any] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=dict)

    def position(self, path: Path) -> Position:
        """Where `path` stands, or its nearest parent that stands anywhere."""
        while path:
            found = self.positions.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return Position()

    def problem(
        self, path: Path, *, code: str, message: str, fix: str = "", suggestion: str | None = None, near: tuple[str, ...] = ()
    ) -> Problem:
        """A problem placed at `path`, or where the first of the options `near` stands that are written when it is not."""
        position = self.position(path)
        if position == Position():
            position = next((self.positions[(name,)] for name in near if (name,) in self.positions), position)
        return Problem(
            code=code,
            message=_printable(message),
            fix=_printable(fix),
            path=dotted(path),
            file="" if position.origin else position.file or self.file,
            line=position.line,
            column=position.column,
            place=position.origin,
            suggestion=suggestion,
        )


class BrokenYamlError(Exception):
    """The text is no YAML a recipe can be; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def dotted(path: Path) -> str:
    """`('datasets', 0, 'type')` as `datasets[0].type`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) and text else f".{part}" if text else str(part)
    return text


def _printable(text: str) -> str:
    """The text with control characters written out: a recipe's own words must not steer the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def read(text: str, *, file: str) -> Document:
    """The document in `text`. Raises BrokenYamlError for anything that is no mapping in readable YAML."""
    document = Document(file=file, text=text)
    node = _compose(text, file)
    if node is None:
        raise BrokenYamlError(
            Problem(
                code="yaml",
                message="the recipe is empty",
                fix="Start with `base_model`, `datasets` and `learning_rate`.",
                file=file,
                line=1,
            )
        )
    if not isinstance(node, yaml.MappingNode):
        raise _broken(file, node.start_mark, "a recipe is a list of `key: value` lines at its top level", "")
    document.values = _Builder(document).mapping(node, (), frozenset())
    return document


def read_value(text: str, *, place: str) -> Any:
    """The one YAML value in `text`, as `--set key=value` gives it. Raises BrokenYamlError."""
    scratch = Document(file=place, text=text)
    try:
        node = _compose(text, place)
    except BrokenYamlError as error:
        raise BrokenYamlError(
            Problem(code="yaml", message=f"the value cannot be read: {error.problem.message}", fix=error.problem.fix, place=place)
        ) from None
    return None if node is None else _Builder(scratch).value(node, (), frozenset())


def _compose(text: str, file: str) -> yaml.Node | None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_depth(loader, text, file)
        reader = loader(text)
        try:
            node: yaml.Node | None = reader.get_single_node()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _translated(error, text, file) from None
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as error:
        raise _unreadable(error, text, file) from None
    return node


def _unreadable(error: Exception, text: str, file: str) -> BrokenYamlError:
    """The problem of a text that no parser gets through, at the first character that YAML does not allow."""
    found = _NOT_ALLOWED.search(text)
    if found is None:
        said, fix = f"the text cannot be read: {' '.join(str(error).split())}", "Check that the file is a recipe."
        return BrokenYamlError(Problem(code="yaml", message=_printable(said), fix=fix, file=file, line=1))
    before = text[: found.start()]
    return BrokenYamlError(
        Problem(
            code="yaml",
            message=f"the character U+{ord(found[0]):04X} is not allowed in a text",
            fix="Remove it: it is often pasted in unseen. A file full of them is no UTF-8 text.",
            file=file,
            line=before.count("\n") + 1,
            column=found.start() - before.rfind("\n"),
        )
    )


def _refuse_depth(loader: Any, text: str, file: str) -> None:
    """Raise BrokenYamlError for nesting that would overflow the stack of the composer, which ends the process instead of raising."""
    if len(_OPENING.findall(text)) <= _HARMLESS:
        return
    depth = 0
    reader = loader(text)
    try:
        while reader.check_event():
            event = reader.get_event()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise _broken(file, event.start_mark, "brackets or indentation are nested too deeply", "Check that the file is a recipe.")
    finally:
        reader.dispose()


class _Builder:
    """Turns nodes into values and notes their positions; a class because the count of values is shared by the whole walk."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: Path, open_nodes: frozenset[int]) -> Any:
        self._counted(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if len(open_nodes) > _DEEPEST:
            raise _broken(
                self._document.file, node.start_mark, "brackets or indentation are nested too deeply", "Check that the file is a recipe."
            )
        if id(node) in open_nodes:
            raise _broken(self._document.file, node.start_mark, "an alias refers to the value it stands in", "Write the value out.")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, open_nodes)
        self._refuse_tag(node, "tag:yaml.org,2002:seq")
        inner = open_nodes | {id(node)}
        items = []
        for index, child in enumerate(node.value):
            self._note((*path, index), child.start_mark)
            items.append(self.value(child, (*path, index), inner))
        return items

    def mapping(self, node: yaml.MappingNode, path: Path, open_nodes: frozenset[int]) -> dict[Any, Any]:
        self._refuse_tag(node, "tag:yaml.org,2002:map")
        inner = open_nodes | {id(node)}
        result: dict[Any, Any] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        lines: dict[Any, int] = {}
        for key_node, child in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged.extend(self._merged_pairs(child, inner))
                continue
            key = self._key(key_node)
            if key in lines:
                raise _broken(
                    self._document.file,
                    key_node.start_mark,
                    f"'{dotted((*path, key))}' is written twice, first on line {lines[key]}",
                    "Keep one of the two: YAML would silently use the last.",
                    dotted((*path, key)),
                )
            lines[key] = key_node.start_mark.line + 1
            self._note((*path, key), key_node.start_mark)
            result[key] = self.value(child, (*path, key), inner)
        for key_node, child in merged:
            key = self._key(key_node)
            if key not in result:
                self._note((*path, key), key_node.start_mark)
                result[key] = self.value(child, (*path, key), inner)
        return result

    def _counted(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise _broken(
                self._document.file,
                node.start_mark,
                f"the text expands to more than {_MOST_VALUES} values",
                "Aliases inside aliases multiply; write the values out.",
            )

    def _merged_pairs(self, node: yaml.Node, open_nodes: frozenset[int]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        self._counted(node)
        if id(node) in open_nodes:
            raise _broken(self._document.file, node.start_mark, "a merge refers to the mapping it stands in", "Write the values out.")
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                yield from self._merged_pairs(child, open_nodes | {id(node)})
            return
        if not isinstance(node, yaml.MappingNode):
            raise _broken(
                self._document.file,
                node.start_mark,
                "`<<` merges a mapping, or a list of mappings",
                "Give it an alias of a mapping, such as `<<: *defaults`.",
            )
        for key_node, child in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                yield from self._merged_pairs(child, open_nodes | {id(node)})
            else:
                self._counted(key_node)
                yield key_node, child

    def _refuse_tag(self, node: yaml.Node, *meant: str) -> None:
        if node.tag not in meant:
            said = f"the tag {node.tag.removeprefix('tag:yaml.org,2002:')!r} has no meaning in a recipe"
            raise _broken(self._document.file, node.start_mark, said, "Remove the tag.")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        kind = node.tag.rpartition(":")[2]
        self._refuse_tag(node, *_PLAIN_TAGS)
        if "\0" in text:
            raise _broken(
                self._document.file, node.start_mark, "a text with a NUL character", "Remove the `\\0`: no file name or text has one."
            )
        if kind == "str":
            return float(text) if not node.style and _EXPONENT.fullmatch(text) else text
        if kind == "null":
            return None
        try:
            if kind == "bool":
                return self._scalars.construct_yaml_bool(node)
            # `1:30` is 90 in YAML 1.1; as text it gets a message that can be understood.
            if kind == "int" and ":" not in text:
                return self._whole_number(node)
            if kind == "float" and ":" not in text:
                return self._scalars.construct_yaml_float(node)
        except (ValueError, KeyError):
            raise _broken(
                self._document.file, node.start_mark, f"{_short(text)!r} cannot be read as {kind}", "Put it in quotes if it is text."
            ) from None
        return text  # dates and the like stay the text they were written as

    def _whole_number(self, node: yaml.ScalarNode) -> int:
        value: int = self._scalars.construct_yaml_int(node)
        digits = node.value.lstrip("+-")
        if abs(value) > _LARGEST:
            said, fix = f"{_short(node.value)!r} is too large for a whole number", "Put it in quotes if it is text."
            raise _broken(self._document.file, node.start_mark, said, fix)
        if value and digits.startswith("0") and digits[1:2].isdigit():
            said, fix = (
                f"{node.value} is {value} to some programs and {int(digits)} to others",
                "Write it without the zero, or in quotes if it is text.",
            )
            raise _broken(self._document.file, node.start_mark, said, fix)
        return value

    def _key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise _broken(
                self._document.file,
                node.start_mark,
                "a key is a list or a mapping",
                "Braces around a `{{ variable }}` must be quoted, and so must a key with brackets.",
            )
        value = self._scalar(node)
        # `no:` and `on:` are truth values in YAML 1.1, but as keys they are words.
        return value if isinstance(value, int) and not isinstance(value, bool) else node.value

    def _note(self, path: Path, mark: yaml.Mark) -> None:
        self._document.positions[path] = Position(line=mark.line + 1, column=mark.column + 1)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _broken(file: str, mark: Any, message: str, fix: str, path: str = "") -> BrokenYamlError:
    return BrokenYamlError(
        Problem(code="yaml", message=_printable(message), fix=fix, path=path, file=file, line=mark.line + 1, column=mark.column + 1)
    )


# What the parser says, what it means, what to do. The first match is used.
_MEANINGS: Mapping[str, tuple[str, str]] = {
    "mapping values are not allowed": (
        "a second ':' on the line",
        "Put text that contains ': ' in quotes; check that the line is not indented too far.",
    ),
    "could not find expected ':'": ("a line without ':'", "Write `key: value`; text over several lines needs `key: |` before it."),
    "did not find expected key": (
        "the line does not fit the ones above",
        "Check its indentation: keys of one section start in the same column.",
    ),
    "did not find expected '-' indicator": ("the line does not fit the list above", "List entries start with '- ' in the same column."),
    "did not find expected ',' or": ("a list or mapping in brackets is not closed, or lacks a comma", "Check the brackets and commas."),
    "found unexpected end of stream": ("a quote is opened and never closed", "Close the quote."),
    "found undefined alias": (
        "the alias has no anchor above it",
        "Define it first with `&name`, or put text that starts with '*' in quotes.",
    ),
    "found duplicate anchor": ("the anchor is defined twice", "Give the second one another name."),
    "found unknown escape character": ("an unknown escape in double quotes", "Use single quotes for text with backslashes."),
    "did not find expected <document start>": ("text after the end of the recipe", "Keep one recipe in a file: remove the `...` line."),
    "found invalid Unicode character escape code": (
        "an escape in double quotes that stands for no character",
        "Use single quotes for text with backslashes.",
    ),
    "found another document": ("a second document starts here", "Keep one recipe in a file: remove the `---` line."),
    "block sequence entries are not allowed": ("a '-' where no list can start", "Start the list on the next line, under its key."),
    "did not find expected node content": ("a value is missing or starts with a character YAML reserves", "Put the value in quotes."),
    "cannot start any token": ("a character that cannot start a value", "Put the value in quotes."),
    "control characters are not allowed": ("a control character in the text", "Remove it: it is often pasted in unseen."),
}


def _translated(error: yaml.MarkedYAMLError, text: str, file: str) -> BrokenYamlError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return BrokenYamlError(Problem(code="yaml", message=str(error), file=file))
    said = error.problem or error.context or "the text cannot be read"
    lines = text.splitlines()
    # A parser stumbles over a tab on its line or on the one after it.
    for number in (mark.line, mark.line - 1):
        if 0 <= number < len(lines) and "\t" in lines[number][: len(lines[number]) - len(lines[number].lstrip())]:
            column = lines[number].index("\t") + 1
            return BrokenYamlError(
                Problem(
                    code="yaml",
                    message="a tab in the indentation",
                    fix="YAML indents with spaces only.",
                    file=file,
                    line=number + 1,
                    column=column,
                )
            )
    for phrase, (meaning, fix) in _MEANINGS.items():
        if phrase in said:
            # What is never closed is best mended where it was opened, and a missing colon where its line begins.
            opened = "never closed" in meaning or "not closed" in meaning or "without ':'" in meaning
            return _broken(file, error.context_mark if opened and error.context_mark else mark, meaning, fix)
    return _broken(file, mark, f"this is no YAML: {said}", "")
