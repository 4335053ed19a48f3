"""What Matrix asks of a homeserver, endpoint by endpoint, and which module answers: the tables of `spec/`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# The wheel brings the tables along as data; a working copy has them at its top.
_FOLDER = next((folder for folder in (_HERE / "spec", _HERE.parents[2] / "spec") if folder.is_dir()), _HERE)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint of an API. Modules are named below `tricord`; an empty text means that there is none."""

    method: str
    path: str
    served: str = ""
    called: str = ""
    not_served: str = ""
    """Why nothing serves it."""
    not_called: str = ""
    """Why nothing calls it."""
    since: str = ""
    """The version of Tricord that had it first."""

    @property
    def missing(self) -> list[str]:
        """Return which sides should be there and are not."""
        sides = {"serve": self.served or self.not_served, "call": self.called or self.not_called}
        return [side for side, there in sides.items() if not there]


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """All endpoints of an API."""

    api: str
    version: str
    text: str
    """The address of the specification's text."""
    rows: list[EndpointRow]
    extensions: list[EndpointRow]
    """Endpoints that are beyond the API."""


def endpoint_tables() -> Iterator[EndpointTable]:
    """Return the table of every API, by the name of its file."""
    for file in sorted(_FOLDER.glob("*.toml")):
        yield _read(file)


def _read(file: Path) -> EndpointTable:
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    rows, extensions = _rows(content["endpoints"]), _rows(content.get("extensions", {}))
    return EndpointTable(content["api"], content["version"], content["text"], rows, extensions)


def _rows(endpoints: dict[str, dict[str, str]]) -> list[EndpointRow]:
    rows = []
    for endpoint, columns in endpoints.items():
        method, _, path = endpoint.partition(" ")
        rows.append(EndpointRow(method, path, **columns))
    return rows
