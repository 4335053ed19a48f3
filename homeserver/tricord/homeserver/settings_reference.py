"""`docs/settings.md`: every setting with its meaning and default, written from the models that read them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tricord.homeserver.settings import Settings
from tricord.homeserver.settings_file import toml_value

_OPENING = """\
# Settings

<!-- Written by `tricord config reference`; the tests compare. -->

`tricord serve --config FILE` reads a TOML file; without `--config` it reads `./tricord.toml`, if there is one.
`tricord init` writes such a file, with an explanation of every setting, and `tricord config check` validates it.

A setting given in several places is taken from the last of these: the file, the environment, the flags `--data-dir` and
`--server-name`.

- **Environment:** `TRICORD__` and the key in capitals, with `__` for each level: `[database] url` is
  `TRICORD__DATABASE__URL`. Lists and tables are written as in TOML: `TRICORD__LISTENERS='[{ bind = "0.0.0.0:8008" }]'`.
- **Secrets** can be kept in files of their own: `url_file` instead of `url`, `TRICORD__DATABASE__URL_FILE` instead of
  `TRICORD__DATABASE__URL`.
- **Paths** in the file are relative to its directory, those in the environment and in flags to the working directory.
- An unknown setting is an error.
"""

_WORDS = {
    bool: "true or false",
    dict: "table of texts",
    float: "number",
    int: "whole number",
    Path: "path",
    SecretStr: "secret",
    str: "text",
}


def settings_reference() -> str:
    """Return the whole page."""
    plain: dict[str, FieldInfo] = {}
    tables: list[str] = []
    for name, field in Settings.model_fields.items():
        below = _model_in(field.annotation)
        if below is None:
            plain[name] = field
        else:
            tables += ["", f"## `[[{name}]]`" if _is_list(field.annotation) else f"## `[{name}]`", *_table(below)]
            if _is_list(field.annotation):
                given = [each.model_dump(exclude_unset=True) for each in field.default]
                tables += ["", f"There may be several such tables. Without any: `{name} = {toml_value(given)}`."]
    return "\n".join([_OPENING, "## At the top of the file", "", *_rows(plain), *tables]) + "\n"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield ""
    yield inspect.cleandoc(model.__doc__ or "").splitlines()[0]
    yield ""
    yield from _rows(model.model_fields)


def _rows(fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {_kind(field.annotation)} | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be given"
    return "none" if field.default is None else f"`{toml_value(field.default)}`"


def _kind(annotation: Any) -> str:
    """Return the words for a type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return " or ".join(f"`{toml_value(each)}`" for each in arguments)
    if origin in (tuple, list):
        return f"list of {_kind(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"table of {', '.join(f'`{name}`' for name in annotation.model_fields)}"
    return _WORDS.get(typing.get_origin(annotation) or annotation, "text")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a whole section is read into, alone or in a list of such sections."""
    if _is_list(annotation):
        annotation = typing.get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (tuple, list)
