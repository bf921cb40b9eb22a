"""Reads a YAML file into a pydantic model and names every problem with file and line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from stages.parameters import Contradictions

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

FEW_KINDS = 4
"""So many kinds are all named when one is misspelt; of more, the nearest."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, or with something given by name (``line`` 0)."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        """Return ``file:line: field: message``, without what does not apply."""
        line = f"{self.line}:" if self.line else ""
        field = f" {self.field}:" if self.field else ""
        return f"{self.file}:{line}{field} {self.message}"


class _Loader(yaml.SafeLoader):
    """YAML as we write it: dates stay words, so that the model names a bad one; nothing stands for something else."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: every file is complete and readable by itself."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # yaml's stubs leave it so
            raise yaml.MarkedYAMLError(problem="aliases (*) are not used here, write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class ConfigError(Exception):
    """A configuration can't be used; all its problems, one a line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def nearest(name: str, known: list[str]) -> str:
    """Return a sentence with the known name closest to ``name``, or all of them if few, or nothing."""
    same = [candidate for candidate in known if candidate.lower() == name.lower()]
    begun = [candidate for candidate in sorted(known) if len(name) > 2 and candidate.lower().startswith(name.lower())]
    close = same or begun or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(sorted(known))}" if len(known) <= 20 else ""


def lines_of(path: Path) -> dict[Location, int]:
    """Return the line of every place in a file that ``load_yaml`` has read: ``("stages", 3)``."""
    lines: dict[Location, int] = {}
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    for _ in _walk(node, (), lines) if node is not None else ():
        pass
    return lines


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Return the file as a checked model.

    Raises
    ------
    ConfigError
        Holds every problem of the file, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError([Problem(str(path), 1, "", "no such file")]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"can't be read: {error}")]) from error
    lines: dict[Location, int] = {}
    problems: list[Problem] = []
    values = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            problems = [Problem(str(path), line, field, message) for line, field, message in _walk(node, (), lines)]
            values = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([Problem(str(path), line, "", f"is no YAML: {error.problem}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"is no YAML: {' '.join(str(error).split())}")]) from error
    if values is None:
        raise ConfigError([Problem(str(path), 1, "", "is empty")])
    if problems:
        raise ConfigError(problems)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False)]
        raise ConfigError(_problems(path, details, lines, model)) from error


def _walk(node: yaml.Node, at: Location, lines: dict[Location, int]) -> Iterator[tuple[int, str, str]]:
    """Note the line of every place in the file; yield fields given twice."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, name, "is given twice"
            seen.add(name)
            lines[(*at, name)] = key.start_mark.line + 1
            yield from _walk(value, (*at, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*at, index), lines)


def _problems(
    path: Path, details: list[dict[str, Any]], lines: dict[Location, int], model: type[BaseModel]
) -> list[Problem]:
    """Return one problem for each detail, several for contradictions, and one for a misspelt field."""
    missing: dict[Location, list[str]] = {}
    for detail in details:
        if detail["type"] == "missing":
            missing.setdefault(detail["loc"][:-1], []).append(str(detail["loc"][-1]))
    problems: list[Problem] = []
    misspelt: set[Location] = set()
    for detail in details:
        if detail["type"] != "extra_forbidden":
            continue
        *group, name = detail["loc"]
        meant = difflib.get_close_matches(str(name), missing.get(tuple(group), []), n=1, cutoff=0.6)
        if meant:
            missing[tuple(group)].remove(meant[0])
            misspelt.add((*group, meant[0]))
            detail["meant"] = meant[0]
    for detail in details:
        error = detail.get("ctx", {}).get("error")
        if isinstance(error, Contradictions):
            at = _place(detail["loc"], lines)
            for field, message in error.problems:
                location = (*at, *(int(part) if part.isdigit() else part for part in field.split(".")))
                problems.append(Problem(str(path), _line(location, lines), _dotted(location), message))
        elif not (detail["type"] == "missing" and detail["loc"] in misspelt):
            problems.append(_problem(path, detail, lines, model))
    return problems


def _place(location: Location, lines: dict[Location, int]) -> Location:
    """Return a location as a place in the file: inside a union it holds the union's tag, which is none."""
    place: Location = ()
    for part in location:
        if (*place, part) in lines:
            place = (*place, part)
    return place


def _line(location: Location, lines: dict[Location, int]) -> int:
    return lines.get(location) or lines.get(location[:-1]) or 1


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _problem(path: Path, detail: dict[str, Any], lines: dict[Location, int], model: type[BaseModel]) -> Problem:
    location = _place(detail["loc"], lines)
    if detail["type"] == "missing":
        location = (*location, detail["loc"][-1])
    line, field = _line(location, lines), _dotted(location)
    message = str(detail["msg"]).removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden" if "meant" in detail:
            message = f"there is no such field, and {detail['meant']} is missing; did you mean {detail['meant']}?"
        case "extra_forbidden":
            known = _fields_at(model, tuple(detail["loc"][:-1]))
            message = f"there is no such field; {nearest(str(location[-1]), known)}".rstrip("; ")
        case "missing":
            message = "is missing"
        case "union_tag_invalid":
            context = detail["ctx"]
            tags = re.findall(r"'([^']+)'", context["expected_tags"])
            close = difflib.get_close_matches(context["tag"], tags, n=1) if len(tags) > FEW_KINDS else []
            right = f"did you mean {close[0]}?" if close else f"one of {context['expected_tags']}"
            message = f"kind {context['tag']!r} is not known; {right}"
        case "union_tag_not_found":
            message = "needs a field 'kind'"
        case "model_type" | "model_attributes_type":
            message = f"needs fields, one a line; it is {detail['input']!r}"
        case _:
            if not message.endswith((".", "?")) and "input" in detail and detail["type"] != "value_error":
                message = f"{message[:1].lower()}{message[1:]}; it is {detail['input']!r}"
    return Problem(str(path), line, field, message)


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the names of the fields at a place in a model, following unions by their tag."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        found: list[type[BaseModel]] = []
        for candidate in models:
            if str(part) in candidate.model_fields:
                found += _models_in(candidate.model_fields[str(part)].annotation)
            kind = candidate.model_fields.get("kind")
            if kind is not None and part in get_args(kind.annotation):
                found.append(candidate)
        models = found or models
    return sorted({name for candidate in models for name in candidate.model_fields})


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
