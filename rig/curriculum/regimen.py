"""Reads a regimen file of the laboratory's training system, keeping the line of everything it says.

Regimens are written with anchors and merge keys, which are resolved here as YAML says: a field of the mapping itself
goes before a merged one. Nothing is executed and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rig.config.load import ConfigError, Problem

_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Written:
    """A value, and the line its field stands on."""

    value: Any
    line: int


Entries = dict[str, Written]


@dataclass(frozen=True, slots=True)
class RegimenStage:
    """A stage as the regimen has it."""

    name: str
    line: int
    entries: Entries
    """What stands beside its parameters: ``script``, ``script_md5``."""
    parameters: Entries


@dataclass(frozen=True, slots=True)
class Regimen:
    """A regimen, nothing of it interpreted yet."""

    path: Path
    name: Written
    transitions: list[tuple[int, Entries]]
    """The line of each, and its fields."""
    stages: list[RegimenStage]
    others: Entries
    """What else stands at the top and is no definition."""
    unused: Entries
    """Definitions that nothing refers to; their values are not kept."""


@dataclass(slots=True)
class _Reader:
    path: Path
    loader: yaml.SafeLoader
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, line: int, what: str, message: str) -> None:
        self.problems.append(Problem(str(self.path), line, what, message))

    def entries(self, node: yaml.Node, what: str, *, within: tuple[yaml.Node, ...] = ()) -> Entries:
        """Return the fields of a mapping, those merged into it included."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node.start_mark.line + 1, what, "needs fields, one a line")
            return {}
        if node in within:
            self.refuse(node.start_mark.line + 1, what, "is merged into itself")
            return {}
        merged: Entries = {}
        own: Entries = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for source in sources:
                    merged = {**self.entries(source, what, within=(*within, node)), **merged}
                continue
            # A copy: constructing a mapping puts what is merged among its own fields.
            own[str(key.value)] = Written(self.loader.construct_object(deepcopy(value), deep=True), line)
        return {**merged, **own}

    def refuse_twice(self, top: yaml.Node) -> None:
        """Name every field that a mapping gives twice, of which YAML would take the last."""
        for node in _all_below([top]):
            seen: set[str] = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                name = str(key.value)
                if name in seen and key.tag != _MERGE:
                    self.refuse(key.start_mark.line + 1, name, "is given twice")
                seen.add(name)


def read_regimen(path: Path) -> Regimen:
    """Return a regimen file.

    Raises
    ------
    ConfigError
        It can't be read, is no YAML, or is no regimen; every problem with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError([Problem(str(path), 1, "", "no such file")]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"can't be read: {error}")]) from error
    try:
        loader = yaml.SafeLoader(text)
        top = loader.get_single_node()
        return _regimen(path, top, _Reader(path, loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([Problem(str(path), line, "", f"is no YAML: {error.problem}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"is no YAML: {' '.join(str(error).split())}")]) from error


def _regimen(path: Path, top: yaml.Node | None, reader: _Reader) -> Regimen:
    if not isinstance(top, yaml.MappingNode):
        raise ConfigError([Problem(str(path), 1, "", "is no regimen: it needs name, transitions and stages")])
    fields = {str(key.value): (key, value) for key, value in top.value}
    for name in ("name", "transitions", "stages"):
        if name not in fields:
            reader.refuse(1, name, "is missing; is this a regimen?")
    if reader.problems:
        raise ConfigError(reader.problems)
    reader.refuse_twice(top)
    used = {id(node) for node in _all_below(fields[name][1] for name in ("name", "transitions", "stages"))}
    top_entries = reader.entries(top, "")
    definitions = {name: pair for name, pair in fields.items() if name.startswith("_")}
    regimen = Regimen(
        path=path,
        name=top_entries["name"],
        transitions=list(_transitions(fields["transitions"][1], reader)),
        stages=list(_stages(fields["stages"][1], reader)),
        others={
            name: entry
            for name, entry in top_entries.items()
            if name not in ("name", "transitions", "stages") and name not in definitions
        },
        unused={
            name: Written(None, key.start_mark.line + 1)
            for name, (key, value) in definitions.items()
            if id(value) not in used
        },
    )
    if reader.problems:
        raise ConfigError(reader.problems)
    return regimen


def _transitions(node: yaml.Node, reader: _Reader) -> Iterator[tuple[int, Entries]]:
    if not isinstance(node, yaml.SequenceNode):
        reader.refuse(node.start_mark.line + 1, "transitions", "needs a list")
        return
    for n, each in enumerate(node.value):
        yield each.start_mark.line + 1, reader.entries(each, f"transitions.{n}")


def _stages(node: yaml.Node, reader: _Reader) -> Iterator[RegimenStage]:
    if not isinstance(node, yaml.MappingNode):
        reader.refuse(node.start_mark.line + 1, "stages", "needs fields, one a line")
        return
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        entries = reader.entries(value, f"stages.{name}")
        nodes = {str(each.value): node for each, node in value.value} if isinstance(value, yaml.MappingNode) else {}
        if "parameters" not in nodes:
            reader.refuse(line, f"stages.{name}.parameters", "is missing")
            continue
        parameters = reader.entries(nodes["parameters"], f"stages.{name}.parameters")
        entries.pop("parameters")
        yield RegimenStage(name, line, entries, parameters)


def _all_below(nodes: Iterable[yaml.Node]) -> Iterator[yaml.Node]:
    """Yield every node that is reached, through anchors and merges, each once."""
    seen: set[int] = set()
    ahead = list(nodes)
    while ahead:
        node = ahead.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            ahead += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            ahead += node.value
