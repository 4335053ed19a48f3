"""How this program was called: what people are told to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def how_to(
    verb: str, config_file: Path | None = None, data_dir: Path | None = None, server_name: str | None = None
) -> str:
    """Return the command line for a verb, as this one was called: by the same program, with the same options."""
    program = Path(sys.argv[0])
    if program.name != "tricord":
        words = ["python", "-m", "tricord.homeserver"]
    elif (found := shutil.which("tricord")) is not None and Path(found).samefile(program):
        words = ["tricord"]
    else:
        words = [str(program)]
    options = {"--config": config_file, "--data-dir": data_dir, "--server-name": server_name}
    for name, value in options.items():
        if value is not None:
            verb += f" {name} {shlex.quote(str(value))}"
    return f"{shlex.join(words)} {verb}"
