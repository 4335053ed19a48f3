"""Running a script on foreign bytes, many times: each time in a copy of a process that has imported what it needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

from tricord.homeserver.media.confined import converse
from tricord.homeserver.media.warm_worker import STATUS

# Linux has it. A picture goes in at once, and not in dozens of turns.
_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)
_ROOM_IN_PIPE = 1 << 20
_WARM_WORKER = Path(__file__).with_name("warm_worker.py")


class WarmScript:
    """A script of ours that is held ready from its first use on. See `warm_worker.py`."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._starting = trio.Lock()
        self._process: trio.Process | None = None
        self._jobs: socket.socket | None = None

    async def run(self, arguments: Sequence[str], parts: AsyncIterator[bytes], *, max_output: int) -> tuple[int, bytes]:
        """Run it on some bytes; all is as with `run_script`."""
        async with contextlib.AsyncExitStack() as ours:
            with contextlib.ExitStack() as lent:
                source, feed = os.pipe()
                lent.callback(os.close, source)
                stdin = await ours.enter_async_context(trio.lowlevel.FdStream(feed))
                output, target = os.pipe()
                lent.callback(os.close, target)
                stdout = await ours.enter_async_context(trio.lowlevel.FdStream(output))
                if _PIPE_SIZE is not None:
                    with contextlib.suppress(OSError):  # beyond what one user may have in pipes
                        fcntl.fcntl(feed, _PIPE_SIZE, _ROOM_IN_PIPE)
                near, far = socket.socketpair()
                lent.callback(far.close)
                report = ours.enter_context(trio.socket.from_stdlib_socket(near))
                await self._send("\0".join(arguments).encode(), [source, target, far.fileno()])
            found = await converse(stdin, stdout, parts, max_output)
            said = await report.recv(STATUS.size)
        # Nothing is said by one that has ended with the process that it was a copy of.
        return (STATUS.unpack(said)[0] if len(said) == STATUS.size else 1), found

    async def aclose(self) -> None:
        """End the process, and with it what still runs."""
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
        if self._process is not None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()
            self._process = None

    async def _send(self, job: bytes, descriptors: Sequence[int]) -> None:
        async with self._starting:
            if self._jobs is not None:
                try:
                    socket.send_fds(self._jobs, [job], descriptors)
                except OSError:
                    await self.aclose()  # it has ended, whatever for
                else:
                    return
            jobs = await self._start()
            socket.send_fds(jobs, [job], descriptors)

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await trio.lowlevel.open_process(
                # -I: nothing is imported from where it is started, or named by the environment.
                [sys.executable, "-I", str(_WARM_WORKER), str(self._script), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=(theirs.fileno(),),
            )
        self._jobs = ours
        return ours
