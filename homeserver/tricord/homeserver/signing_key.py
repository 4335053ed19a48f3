"""The server's keys, kept in `data_dir`: who has the signing key can speak as this server, who loses it is another.

Three files: `signing.key`, the key in use; `signing.key.next`, the one to take at the next start, if an operator wants
another; `signing.key.retired`, the public halves of those that were in use before, a line each: `ed25519 VERSION
PUBLIC_KEY EXPIRED_TS`. What they signed stays signed, so others are told of them for ever.

A policy server has one more, `policy.key`, by which it recommends events and can do nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from tricord.protocol.errors import BadJson, InvalidParam
from tricord.protocol.identifiers import KeyId
from tricord.protocol.policy_server import POLICY_KEY_VERSION
from tricord.protocol.signing import ALGORITHM, SigningKey
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import ServerKey

_log = structlog.get_logger(__name__)

FILE_NAME = "signing.key"
_NEXT = f"{FILE_NAME}.next"
_RETIRED = f"{FILE_NAME}.retired"
_POLICY = "policy.key"
_KEY_BYTES = 32


class SigningKeyError(Exception):
    """The signing key cannot be made or used; the message names its file."""


def load_or_create_signing_key(data_dir: Path) -> SigningKey:
    """Return the signing key in `data_dir`, making both on the first start.

    Raises SigningKeyError if what lies there is not a signing key, or cannot be read or written.
    """
    return _load_or_create(data_dir / FILE_NAME, None)


def begin_with_signing_key(data_dir: Path) -> None:
    """See to it, when a server starts, that there is a signing key: the one that is prepared, if one is.

    Before there are several processes that could take it. Raises SigningKeyError.
    """
    take_next_signing_key(data_dir, time.time_ns() // 1_000_000)
    is_lost = not (data_dir / FILE_NAME).exists() and (data_dir / "postgres" / "data").exists()
    key = load_or_create_signing_key(data_dir)
    if is_lost:
        _log.warning(
            "the signing key is gone, and a new one was made: if you have a copy, put it back and restart",
            file=str(data_dir / FILE_NAME),
            key=key.key_id,
        )


def load_or_create_policy_key(data_dir: Path) -> SigningKey:
    """Return the key by which this server recommends events as a policy server; raises as the above."""
    return _load_or_create(data_dir / _POLICY, POLICY_KEY_VERSION)


def _load_or_create(file: Path, version: str | None) -> SigningKey:
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_once(file, SigningKey.generate(version).dump())
    except OSError as error:
        raise SigningKeyError(f"{file} cannot be read or made: {error.strerror}") from error
    return _read(file)


def prepare_next_signing_key(data_dir: Path) -> SigningKey:
    """Return the key that the next start takes, making it if there is none. Raises SigningKeyError."""
    file = data_dir / _NEXT
    try:
        _write_once(file, SigningKey.generate().dump())
    except OSError as error:
        raise SigningKeyError(f"{file} cannot be made: {error.strerror}") from error
    return _read(file)


def take_next_signing_key(data_dir: Path, now_ms: int) -> None:
    """Retire the key in use for the one that is prepared, if one is. Raises SigningKeyError.

    For the start of a server: what it has signed until now, it signed with the old key.
    """
    prepared = data_dir / _NEXT
    if not prepared.exists():
        return
    _read(prepared)
    old, retired = _read(data_dir / FILE_NAME), retired_signing_keys(data_dir)
    keys = {**retired, old.key_id: ServerKey(old.public_key, now_ms)}
    try:
        # In this order: whoever dies in between has a key too many among the retired, and tries again.
        _replace(data_dir / _RETIRED, "\n".join(_retired_line(key_id, key) for key_id, key in keys.items()))
        prepared.replace(data_dir / FILE_NAME)
    except OSError as error:
        raise SigningKeyError(f"{prepared} cannot be taken: {error.strerror}") from error


def retired_signing_keys(data_dir: Path) -> Mapping[KeyId, ServerKey]:
    """Return the keys that were in use before, each valid until it was retired. Raises SigningKeyError."""
    file = data_dir / _RETIRED
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        keys = dict(_retired_key(line) for line in lines if line.strip())
    except OSError as error:
        raise SigningKeyError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, BadJson) as error:
        raise SigningKeyError(f"{file} does not list retired keys ({error}): restore it from a copy") from error
    return keys


def _read(file: Path) -> SigningKey:
    try:
        return SigningKey.parse(file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise SigningKeyError(f"{file} cannot be read or made: {error.strerror}") from error
    except (InvalidParam, UnicodeDecodeError) as error:
        raise SigningKeyError(f"{file} is not a signing key ({error}): restore it from a copy") from error


def _retired_line(key_id: KeyId, key: ServerKey) -> str:
    return f"{ALGORITHM} {key_id.partition(':')[2]} {encode_base64(key.public_key)} {key.valid_until_ts}"


def _retired_key(line: str) -> tuple[KeyId, ServerKey]:
    words = line.split()
    if len(words) != 4 or words[0] != ALGORITHM:
        raise ValueError(f"a retired key reads `{ALGORITHM} VERSION PUBLIC_KEY EXPIRED_TS`")
    public_key = decode_base64(words[2])
    if len(public_key) != _KEY_BYTES:
        raise ValueError("a public key is 32 bytes in base64")
    return KeyId(f"{ALGORITHM}:{words[1]}"), ServerKey(public_key, int(words[3]))


def _write_once(file: Path, text: str) -> None:
    """Write the file whole or not at all; of two first starts at once, one wins and both read its key."""
    draft = _draft(file, text)
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _replace(file: Path, text: str) -> None:
    """Write the file whole or not at all, in place of what is there."""
    _draft(file, text).replace(file)


def _draft(file: Path, text: str) -> Path:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return draft
