"""The server's signing key, kept in `data_dir`: who has it can speak as this server, who loses it is another."""

from __future__ import annotations

import os
from pathlib import Path

from tricord.protocol.signing import SigningKey

FILE_NAME = "signing.key"


def load_or_create_signing_key(data_dir: Path) -> SigningKey:
    """Return the key in `data_dir`, making one on the first start.

    Raises ValueError, naming the file, if what lies there is not a signing key.
    """
    file = data_dir / FILE_NAME
    if not file.exists():
        _write_once(file, SigningKey.generate().dump())
    try:
        return SigningKey.parse(file.read_text(encoding="utf-8").strip())
    except ValueError as error:
        raise ValueError(f"{file} is not a signing key: {error}") from error


def _write_once(file: Path, text: str) -> None:
    """Write the file whole or not at all; of two first starts at once, one wins and both read its key."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
