"""Somebody who uses matrix-js-sdk with its own encryption: a process of node that does as it is told."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import trio

from tricord.protocol.identifiers import DeviceId, UserId

JS_PASSWORD = "a good long password"
"""Theirs; for those who have devices of both libraries."""
_PATIENCE_SECONDS = 90
_MARK = b"=> "


class JsPerson:
    """What can be asked of them is in `js/by_order/person.mjs`."""

    user_id: UserId
    device_id: DeviceId

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._read = b""

    async def does(self, deed: str, *args: Any) -> Any:
        """Have something done; return what came of it. Raises AssertionError if it failed."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(orjson.dumps([deed, *args]) + b"\n")
        with trio.fail_after(_PATIENCE_SECONDS):
            answer = orjson.loads(await self._answer())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def signs_in(self) -> None:
        """Sign in as a new device."""
        session = await self.does("signIn")
        self.user_id, self.device_id = UserId(session["user_id"]), DeviceId(session["device_id"])

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None
        while True:
            *lines, self._read = self._read.split(b"\n")
            for number, line in enumerate(lines):
                if line.startswith(_MARK):
                    self._read = b"\n".join([*lines[number + 1 :], self._read])
                    return line.removeprefix(_MARK)
            more = await self._process.stdout.receive_some()
            assert more, "node has ended"
            self._read += more


@asynccontextmanager
async def js_person(js: Path, url: str, name: str) -> AsyncIterator[JsPerson]:
    """Let somebody in who has just signed in; their first device makes the account."""
    command = ["node", "by_order/person.mjs", url, name]
    # What it says of errors is shown along with the test's own output, if that fails.
    process = await trio.lowlevel.open_process(command, cwd=js, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        person = JsPerson(process)
        await person.signs_in()
        yield person
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)
