"""The options of `tricord serve`, read without click where they are plain: 1.4 MiB less for a server."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile("[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `tricord serve` was told; `cli/serve.py` explains each."""

    config_file: Path | None = None
    data_dir: Path | None = None
    server_name: str | None = None
    processes: int | None = None


def plain_options(words: Sequence[str]) -> ServeOptions | None:
    """Read options with their values; None for anything else (a mistake, `--help`), which click shall judge."""
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, is_given, value = word.partition("=")
        if not is_given:
            value = next(rest, "")
        if name not in ("--config", "--data-dir", "--server-name", "--processes") or not value or value[0] == "-":
            return None
        given[name] = value
    config_file = Path(given["--config"]) if "--config" in given else None
    data_dir = Path(given["--data-dir"]) if "--data-dir" in given else None
    processes = given.get("--processes", "")
    is_plain = (
        (config_file is None or _can_be(config_file, config_file.is_file()))
        and (data_dir is None or _can_be(data_dir, data_dir.is_dir()))
        and (not processes or _NUMBER.fullmatch(processes) is not None)
    )
    if not is_plain:
        return None
    return ServeOptions(config_file, data_dir, given.get("--server-name"), int(processes) if processes else None)


def _can_be(path: Path, is_right: bool) -> bool:
    """Whether a path is of the right kind and ours to read, or not there yet."""
    return not path.exists() or (is_right and os.access(path, os.R_OK))
