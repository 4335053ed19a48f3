"""Where settings come from: a TOML file, then the environment, then flags; the later wins, key by key.

tricord.toml:  [database]                       environment:  TRICORD__DATABASE__URL=postgresql://…
               url = "postgresql://…"           flag:         --data-dir, --server-name
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from tricord.homeserver.settings import HIGHEST_PORT, Settings

ENVIRONMENT_PREFIX = "TRICORD__"
DEFAULT_FILE = Path("tricord.toml")


class SettingsError(Exception):
    """A setting is unknown, malformed or contradicts another; the message names it and its source."""


def settings_for(
    config_file: Path | None, data_dir: Path | None, server_name: str | None, processes: int | None = None
) -> Settings:
    """Load the settings of a command that was given these options. Raises SettingsError."""
    if config_file is None and DEFAULT_FILE.exists():
        config_file = DEFAULT_FILE
    flags = {"data_dir": data_dir, "server_name": server_name, "processes": processes}
    return load_settings(config_file, os.environ, flags)


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings from all sources, in rising order: file, environment, flags.

    `flags` has the shape of the file; its `None` values mean "not given". Relative paths in the file start at the
    file's folder, others at the working directory. Raises SettingsError with one line per fault.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        merged = _paths_from(file.parent, _resolve_secrets(_read_file(file), Settings, str(file)), Settings)
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith("TRICORD__TEST"):
            _merge(merged, _from_environment(name, text))
    _merge(merged, {key: value for key, value in (flags or {}).items() if value is not None})
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("\n".join(_in_words(error))) from None
    _check_whole(settings)
    return settings


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from error
    unknown = list(_unknown_keys(content, Settings, ()))
    if unknown:
        raise SettingsError("\n".join(f"{file}: {line}" for line in unknown))
    return content


def _unknown_keys(table: dict[str, Any], model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    known = set(model.model_fields) | {f"{name}_file" for name in _secrets(model)}
    for key, value in table.items():
        if key not in known:
            yield _unknown((*path, key), known)
        elif key in model.model_fields:
            below = _section_of(model.model_fields[key].annotation)
            if below is None:
                continue
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(item, dict):
                    name = f"{key}[{number}]" if isinstance(value, list) else key
                    yield from _unknown_keys(item, below, (*path, name))


def _unknown(path: tuple[str, ...], known: set[str]) -> str:
    import difflib  # for who has made a mistake

    near = difflib.get_close_matches(path[-1], sorted(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
    return f"unknown setting {'.'.join(path)!r}: {hint}"


def _secrets(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if SecretStr in _members(field.annotation)]


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types a field's annotation is made of, Annotated and unions looked through."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    return (annotation,)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for member in _members(annotation):
        if typing.get_origin(member) in (tuple, list):
            return _section_of(typing.get_args(member)[0])
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def _resolve_secrets(table: dict[str, Any], model: type[BaseModel], source: str) -> dict[str, Any]:
    resolved = dict(table)
    for name in _secrets(model):
        file = resolved.pop(f"{name}_file", None)
        if file is None:
            continue
        if name in resolved:
            raise SettingsError(f"{source}: both {name!r} and '{name}_file' are set")
        resolved[name] = _secret_from(Path(source).parent / str(file), f"{source}: {name}_file")
    for key, value in resolved.items():
        below = _section_of(model.model_fields[key].annotation) if key in model.model_fields else None
        if below is not None and isinstance(value, dict):
            resolved[key] = _resolve_secrets(value, below, source)
    return resolved


def _secret_from(file: Path, source: str) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{source}: {file} cannot be read: {error.strerror}") from error


def _paths_from(folder: Path, table: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Let relative paths of the file start at the file's folder."""
    rooted = dict(table)
    for key, value in table.items():
        annotation = model.model_fields[key].annotation
        below = _section_of(annotation)
        if Path in _members(annotation) and isinstance(value, str):
            rooted[key] = folder / value
        elif below is not None and isinstance(value, dict):
            rooted[key] = _paths_from(folder, value, below)
        elif below is not None and isinstance(value, list):
            rooted[key] = [_paths_from(folder, item, below) if isinstance(item, dict) else item for item in value]
    return rooted


def _from_environment(name: str, text: str) -> dict[str, Any]:
    """Return the nested table that one environment variable stands for."""
    path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    model: type[BaseModel] | None = Settings
    for depth, key in enumerate(path):
        if model is None:
            raise SettingsError(f"{name}: {'.'.join(path[:depth])!r} has no keys below it")
        secret = key.removesuffix("_file")
        last = depth == len(path) - 1
        if last and key != secret and secret in _secrets(model):
            return _nested([*path[:-1], secret], _secret_from(Path(text), name))
        if key not in model.model_fields:
            known = set(model.model_fields) | {f"{each}_file" for each in _secrets(model)}
            raise SettingsError(f"{name}: {_unknown((*path[: depth + 1],), known)}")
        annotation = model.model_fields[key].annotation
        if last:
            return _nested(path, _value(name, text, annotation))
        model = _section_of(annotation)
    raise SettingsError(f"{name}: names no setting")


def _value(name: str, text: str, annotation: Any) -> Any:
    """Take lists and tables as TOML; pydantic converts plain values itself."""
    containers = (tuple, list, dict)
    if not any(typing.get_origin(member) in containers for member in _members(annotation)):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: is not a TOML value such as [1, 2] or {{ a = 1 }}: {error}") from error


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return typing.cast("dict[str, Any]", value)


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _in_words(error: ValidationError) -> Iterator[str]:
    faults = error.errors(include_url=False, include_input=False)
    for fault in faults:
        depth = len(fault["loc"])
        if fault["type"] == "too_short" and any(f["loc"][:depth] == fault["loc"] != f["loc"] for f in faults):
            continue  # only because the fault below it has been left out
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        yield f"{path.removeprefix('.') or 'settings'}: {_rule(fault)}"


# pydantic's messages are about Python's types; an operator writes TOML.
_RULES = {
    "bool": "must be true or false",
    "dict": "must be a table: { key = value, … }",
    "float": "must be a number",
    "int": "must be a whole number",
    "model": "must be a table: { key = value, … }",
    "path": "must be a path in quotes",
    "string": "must be text in quotes",
    "tuple": "must be a list: [ … ]",
}


def _rule(fault: ErrorDetails) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "greater_than":
        return f"must be more than {context['gt']}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "missing":
        return "must be given"
    if kind == "too_short":
        return f"must have at least {context['min_length']}"
    if kind == "extra_forbidden":
        return "is no setting"
    words = fault["msg"].removeprefix("Value error, ")
    return _RULES.get(kind.partition("_")[0], words) if kind.endswith(("_type", "_parsing", "_from_float")) else words


def _check_whole(settings: Settings) -> None:
    """Refuse what is wrong only in combination."""
    for number, listener in enumerate(settings.listeners):
        if (listener.tls_certificate is None) != (listener.tls_key is None):
            raise SettingsError(f"listeners[{number}]: tls_certificate and tls_key go together")
    port = int(settings.metrics.bind.rpartition(":")[2] or 0)
    if port and port + settings.processes - 1 > HIGHEST_PORT:
        raise SettingsError(
            f"metrics.bind: each of {settings.processes} processes has a port of its own, from {port} on, and there is "
            f"none above {HIGHEST_PORT}: the first is {HIGHEST_PORT + 1 - settings.processes} at most"
        )
