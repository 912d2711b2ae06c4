"""YAML as profiles use it: plain data, the line of every key, and whatever is wrong said with its line.

PyYAML's loaders take more than a profile may hold and fail in more ways than by YAMLError: a key given twice, a date
that no calendar has, a number of 5000 digits, and nesting so deep that the C loader overflows the stack, which ends
the process.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.profile_text import Place

_DEEPEST, _MOST_FIELDS = 50, 50_000  # YAML aliases can nest without end, and grow without bound
_TAG = "tag:yaml.org,2002:"
_KEYS = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "merge")}
# What PyYAML's constructors let through.
_UNREADABLE = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)


def read_yaml(text: str, source: str) -> tuple[object, dict[Place, int]]:
    """Return the data of one document and the line of each key; ProfileError begins with `source:line:`."""
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines: dict[Place, int] = {}
    try:
        _refuse_depth(text, kind, source)
        loader = kind(text)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, source) from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise ProfileError(f"{source}:1: the profile is empty")
        _note_lines(node, (), lines, source)
        return _constructed(loader, node, source), lines
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, source) from None
    finally:
        loader.dispose()


def _refuse_depth(text: str, kind: type[yaml.SafeLoader], source: str) -> None:
    """Count the depth from the parser's events: to build the nodes, PyYAML recurses in C."""
    depth = 0
    for event in yaml.parse(text, Loader=kind):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _too_deep(source, event.start_mark.line + 1)  # type: ignore[union-attr]


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], source: str) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if len(place) > _DEEPEST or len(lines) > _MOST_FIELDS:
        raise _too_deep(source, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*place, index), lines, source)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEYS:
                raise ProfileError(f"{source}:{key.start_mark.line + 1}: a key must be a word")
            if key.value in seen:
                raise ProfileError(f"{source}:{key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
            lines[*place, key.value] = key.start_mark.line + 1
            _note_lines(value, (*place, key.value), lines, source)


def _constructed(loader: yaml.SafeLoader, node: yaml.Node, source: str) -> object:
    try:
        return loader.construct_document(node)
    except _UNREADABLE:
        bad = next((each for each in _scalars(node) if not _readable(loader, each)), node)
        shown = repr(bad.value)[:40]
        kind = bad.tag.removeprefix(_TAG)
        raise ProfileError(f"{source}:{bad.start_mark.line + 1}: {shown} cannot be read as {kind}") from None


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for item in pair:
                yield from _scalars(item)


def _readable(loader: yaml.SafeLoader, scalar: yaml.ScalarNode) -> bool:
    try:
        loader.construct_document(scalar)
    except (*_UNREADABLE, yaml.YAMLError):
        return False
    return True


def _too_deep(source: str, line: int) -> ProfileError:
    return ProfileError(f"{source}:{line}: nested too deep, or too long, for a profile")


def _not_yaml(error: yaml.YAMLError, text: str, source: str) -> ProfileError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return ProfileError(f"{source}:{line}: not YAML: {error.reason}")
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else 1
    return ProfileError(f"{source}:{line}: not YAML: {getattr(error, 'problem', None) or error}")
