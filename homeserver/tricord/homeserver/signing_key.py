"""The server's signing key, kept in `data_dir`: who has it can speak as this server, who loses it is another."""

from __future__ import annotations

import os
from pathlib import Path

from tricord.protocol.errors import InvalidParam
from tricord.protocol.signing import SigningKey

FILE_NAME = "signing.key"


class SigningKeyError(Exception):
    """The signing key cannot be made or used; the message names its file."""


def load_or_create_signing_key(data_dir: Path) -> SigningKey:
    """Return the key in `data_dir`, making both on the first start.

    Raises SigningKeyError if what lies there is not a signing key, or cannot be read or written.
    """
    file = data_dir / FILE_NAME
    try:
        if not file.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_once(file, SigningKey.generate().dump())
        return SigningKey.parse(file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise SigningKeyError(f"{file} cannot be read or made: {error.strerror}") from error
    except (InvalidParam, UnicodeDecodeError) as error:
        raise SigningKeyError(f"{file} is not a signing key ({error}): restore it from a copy") from error


def _write_once(file: Path, text: str) -> None:
    """Write the file whole or not at all; of two first starts at once, one wins and both read its key."""
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
