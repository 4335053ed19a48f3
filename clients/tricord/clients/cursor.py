"""Where a bot is in its sync, kept in a file: it moves only after what was before it has been handled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from tricord.clients.session import Session
from tricord.protocol.identifiers import DeviceId, UserId


class Cursor:
    """The position of a user in their sync and the session it belongs to, in one small file.

    The file is replaced whole, so that a crash leaves the old one or the new one; nobody else may read it. Without a
    path nothing outlives the process.
    """

    def __init__(self, file: Path | None, user_id: UserId) -> None:
        """Read the file, if there is one. Raises ValueError if it is something else, or another user's."""
        self._file = file
        self._content: dict[str, Any] = {"user_id": user_id}
        if file is not None and file.exists():
            stored = orjson.loads(file.read_bytes())
            if not isinstance(stored, dict) or stored.get("user_id") != user_id:
                raise ValueError(f"{file} does not hold the place of {user_id}")
            self._content = stored

    @property
    def position(self) -> str | None:
        """The position up to which everything has been handled; None before there is one."""
        return self._content.get("position")

    @property
    def device_id(self) -> DeviceId | None:
        """The device of the last session: signed in as the same one, what was sent already is not sent again."""
        return self._content.get("device_id")

    @property
    def session(self) -> Session | None:
        """The session of the last run, unless it has ended."""
        token, device_id = self._content.get("access_token"), self.device_id
        if token is None or device_id is None:
            return None
        return Session(self._content["user_id"], device_id, token)

    def move(self, position: str) -> None:
        """Remember that everything up to `position` has been handled."""
        if position != self.position:
            self._content["position"] = position
            self._write()

    def keep_session(self, session: Session) -> None:
        """Remember a session, so that the next run is the same device."""
        self._content |= {"access_token": session.access_token, "device_id": session.device_id}
        self._write()

    def forget_session(self) -> None:
        """Forget a session that the homeserver no longer accepts; the position and the device stay."""
        if self._content.pop("access_token", None) is not None:
            self._write()

    def forget_device(self) -> None:
        """Forget the device and its session: the next run is another one. The position stays."""
        self._content.pop("device_id", None)
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
