"""From YAML to a manifest, or to sentences that name the line, what was found and what was probably meant."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from manifests.schema import Manifest
from stylegan.config import DEFAULT_ARCHITECTURE

Location = tuple[str | int, ...]


class ManifestError(ValueError):
    """The manifest does not say what is to be done; the text has a line for each thing that is wrong."""

    exit_code = 2


def load_manifest(path: Path, settings: Sequence[str] = ()) -> Manifest:
    """The manifest in a YAML file (1.2), with settings such as `train.kimg=4` put over it."""
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such manifest{_near_names(path)}")
    raw, lines = _read_yaml(path)
    for setting in settings:
        _put(raw, setting)
    return _validated(raw, lines, path)


def _read_yaml(path: Path) -> tuple[dict[str, Any], CommentedMap]:
    # YAML 1.2 by ruamel: PyYAML takes the second of two equal keys in silence and reads 1e-3 as text.
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise ManifestError(f"{path}, {where}: this is not YAML: {error.problem or error.context}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: this is not YAML: {error}") from error
    if not isinstance(document, CommentedMap):
        raise ManifestError(f"{path}: a manifest is a mapping of keys such as name, sources and train")
    return _plain(document), document


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):  # ruamel's scalars remember how they were written
        if isinstance(node, kind):
            return kind(node)
    return node


def _put(raw: dict[str, Any], setting: str) -> None:
    name, found, text = setting.partition("=")
    if not found or not name:
        raise ManifestError(f"--set {setting}: expected KEY=VALUE, for example train.kimg=4")
    *parents, last = name.split(".")
    node: Any = raw
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
        if not isinstance(node, dict | list):
            raise ManifestError(f"--set {setting}: {parent} holds a value, not keys")
    value = _plain(YAML(typ="rt").load(text)) if text else None
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def _validated(raw: dict[str, Any], lines: CommentedMap, path: Path) -> Manifest:
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        # "at least 1 item" beside what is wrong with the item says nothing more.
        causes = [p for p in problems if not any(_is_within(q["loc"], p["loc"]) for q in problems)]
        raise ManifestError("\n".join(_sentence(problem, lines, path) for problem in causes)) from error


def _is_within(location: Location, outer: Location) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _sentence(problem: Any, lines: CommentedMap, path: Path) -> str:
    names, line = _locate(problem["loc"], lines)
    where = f"{path}, line {line}" if line else f"{path}"
    key = ".".join(str(name) for name in names)
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys_at(Manifest, problem["loc"][:-1]))
        near = difflib.get_close_matches(str(names[-1]), known, n=1)
        meaning = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: {key} is no key of a manifest; {meaning}"
    if problem["type"] == "missing":
        return f"{where}: {key} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem["input"]
    shown = f" (found {value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"


def _locate(location: Location, node: Any) -> tuple[Location, int | None]:
    """The location without pydantic's union tags, and the line of its deepest part that is in the file."""
    names: list[str | int] = []
    line = None
    for number, part in enumerate(location):
        if isinstance(node, dict) and part in node:
            line, node = _line(node, part, "key"), node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            line, node = _line(node, part, "item"), node[part]
        elif isinstance(node, dict) and number < len(location) - 1 and part in _tags(node):
            continue
        names.append(part)
    return tuple(names), line


def _tags(node: dict[str, Any]) -> tuple[Any, ...]:
    """What pydantic may call the branch of a union that this section took: its kind, or its network's architecture."""
    return node.get("kind"), node.get("architecture", DEFAULT_ARCHITECTURE)


def _line(node: Any, part: str | int, what: str) -> int:
    """The line where ruamel read this key or item; lines count from one."""
    return int(getattr(node.lc, what)(part)[0]) + 1


def _keys_at(model: type[BaseModel], location: Location) -> set[str]:
    """The keys that the section at this location knows."""
    models = [model]
    for part in location:
        tagged = [m for m in models if part in _names_of(m)]
        if tagged:
            models = tagged
        elif isinstance(part, str):
            models = [
                inner for m in models if part in m.model_fields for inner in _models_in(m.model_fields[part].annotation)
            ]
    return {name for m in models for name in m.model_fields}


def _names_of(model: type[BaseModel]) -> set[str]:
    """The tags under which a union knows this model."""
    tags = [model.model_fields[name].annotation for name in ("kind", "architecture") if name in model.model_fields]
    return {name for tag in tags for name in typing.get_args(tag)}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _near_names(path: Path) -> str:
    names = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
