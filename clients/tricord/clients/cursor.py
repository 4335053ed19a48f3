"""Where a bot is in its sync, kept in a file: it moves only after what was before it has been handled."""

from __future__ import annotations

import os
from pathlib import Path

import orjson


class Cursor:
    """A position, and the session it belongs to, in one small file.

    The file is replaced whole, so that a crash leaves the old one or the new one. Without a path nothing is kept.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._content: dict[str, str] = {}
        if file is not None and file.exists():
            stored = orjson.loads(file.read_bytes())
            if not isinstance(stored, dict):
                raise ValueError(f"{file} is not a cursor file")
            self._content = stored

    @property
    def position(self) -> str | None:
        """The position up to which everything has been handled."""
        return self._content.get("position")

    def move(self, position: str) -> None:
        """Remember that everything up to `position` has been handled."""
        self._content["position"] = position
        self._write()

    def session(self) -> tuple[str, str] | None:
        """Return the access token and device id of the last run."""
        token, device = self._content.get("access_token"), self._content.get("device_id")
        return None if token is None or device is None else (token, device)

    def keep_session(self, access_token: str, device_id: str) -> None:
        """Remember a session, so that the next run is the same device."""
        self._content |= {"access_token": access_token, "device_id": device_id}
        self._write()

    def forget_session(self) -> None:
        """Forget a session that the homeserver no longer accepts; the position stays."""
        self._content.pop("access_token", None)
        self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(self._file.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(orjson.dumps(self._content))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._file)
