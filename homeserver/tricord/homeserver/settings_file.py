"""The settings file as text: what `tricord init` writes and `docs/settings.md` shows.

Every setting appears once, commented out at its default, so that the file is also the reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tricord.homeserver.settings import ListenerSettings, Settings

_WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def settings_file(chosen: Mapping[str, Any]) -> str:
    """Return a TOML file with every setting commented out, except those in `chosen` (of the file's own shape)."""
    lines = [
        "# Tricord's settings. A line that starts with '#' shows a default; remove the '#' to change it.",
        "# Each may come from the environment too: [database] url is TRICORD__DATABASE__URL.",
        '# A secret may lie in a file of its own: url_file = "…" instead of url.',
        "# Check this file with: tricord config check",
        "",
    ]
    tables: list[str] = []
    for name, field in Settings.model_fields.items():
        if name == "listeners":
            tables += _listeners(chosen.get(name))
        elif isinstance(field.default, BaseModel):
            tables += _table(name, type(field.default), chosen.get(name, {}))
        else:
            lines += _setting(name, field, chosen.get(name))
    return "\n".join([*lines, *tables])


def _table(name: str, model: type[BaseModel], chosen: Mapping[str, Any]) -> list[str]:
    lines = [f"# {(model.__doc__ or '').strip().splitlines()[0]}", f"[{name}]"]
    for key, field in model.model_fields.items():
        lines += _setting(key, field, chosen.get(key), chosen.get(f"{key}_file"))
    return [*lines, ""]


def _listeners(chosen: list[Mapping[str, Any]] | None) -> list[str]:
    lines = [f"# {(ListenerSettings.__doc__ or '').strip()} There may be several such tables."]
    default = [listener.model_dump(mode="json") for listener in Settings.model_fields["listeners"].default]
    for listener in chosen or default:
        lines.append("[[listeners]]")
        for key, field in ListenerSettings.model_fields.items():
            lines += _setting(key, field, listener.get(key) or None)
        lines.append("")
    return lines


def _setting(name: str, field: FieldInfo, value: Any, file: Path | None = None) -> Iterator[str]:
    if field.description:
        yield from _comment(field.description)
    if file is not None:
        yield f"{name}_file = {toml_value(file)}"
    elif value is not None:
        yield f"{name} = {toml_value(value)}"
    elif field.default is None or field.default is PydanticUndefined:
        yield f"# {name} ="
    else:
        yield f"# {name} = {toml_value(field.default)}"


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def toml_value(value: Any) -> str:
    """Return a value of the settings as TOML."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        # TOML's basic strings escape as JSON's do.
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = ", ".join(
            f"{key if _BARE.fullmatch(key) else json.dumps(key)} = {toml_value(item)}" for key, item in value.items()
        )
        return f"{{ {pairs} }}" if pairs else "{}"
    return f"[{', '.join(toml_value(item) for item in value)}]"
