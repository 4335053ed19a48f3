"""Watching over processes that serve as one.

All of them accept from the same sockets, which they inherit: no connection is lost when one of them dies, a replacement
finds the sockets open, and each takes its share (`serving/shares.py`). With SO_REUSEPORT each would have sockets of its
own, and those that wait at the socket of a process that dies are lost; only Linux spreads them at all, by chance.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import structlog
import trio
from pydantic import SecretStr

from tricord.homeserver.assembly.database import prepared_database
from tricord.homeserver.processes.work import READY, STOP, Work
from tricord.homeserver.serving.sockets import base_url, open_socket
from tricord.homeserver.settings import Settings
from tricord.homeserver.signing_key import begin_with_signing_key
from tricord.homeserver.stream.common_memory import SIZE

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30
# Who has lived for so long has not died of how it began.
_LONG_LIFE_SECONDS = 60
# They drain for eight seconds.
_STOP_SECONDS = 12

# Linux has such files.
_IN_MEMORY = hasattr(os, "memfd_create")

_log = structlog.get_logger(__name__)


class ProcessFailed(Exception):
    """A process that is to serve ended before it did."""


@contextlib.asynccontextmanager
async def serving_processes(settings: Settings) -> AsyncIterator[tuple[str, list[str]]]:
    """Run the processes of the settings while inside the block, which gets the URLs of the database and the listeners.

    It is entered when all of them serve. One that ends is replaced. Raises SigningKeyError, DatabaseError, CannotListen
    or ProcessFailed, with words for the operator; what else is wrong, the processes have said themselves.
    """
    begin_with_signing_key(settings.data_dir)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(prepared_database(settings))
        sockets = [stack.enter_context(open_socket(listener.bind)) for listener in settings.listeners]
        database = settings.database.model_copy(update={"url": SecretStr(url)})
        memory = stack.enter_context(_common_memory())
        # Only we may enter it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tricord-")))
        crew = _Crew(settings.model_copy(update={"database": database}), sockets, memory, folder)
        async with trio.open_nursery() as nursery:
            try:
                await crew.start(nursery)
                yield (
                    url,
                    [
                        base_url(sock, is_secure=listener.tls_certificate is not None)
                        for listener, sock in zip(settings.listeners, sockets, strict=True)
                    ],
                )
            finally:
                await crew.stop()
            nursery.cancel_scope.cancel()


@contextlib.contextmanager
def _common_memory() -> Iterator[int]:
    # A file that lies on a disk would be written there again and again, for nothing.
    with os.fdopen(os.memfd_create("tricord"), "wb") if _IN_MEMORY else tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        yield file.fileno()


class _Child:
    """A process that serves, with the pipes to and from it."""

    def __init__(self, process: trio.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it was started with pipes")
        self.process = process
        self._told = process.stdin
        self._said = process.stdout

    @classmethod
    async def born(cls, work: Work) -> _Child:
        """Start a process, and tell it what to do."""
        child = cls(
            await trio.lowlevel.open_process(
                [sys.executable, "-m", "tricord.homeserver.processes.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(*work.sockets, work.memory),
            )
        )
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended already, which is noticed elsewhere
            await child._told.send_all(work.encode())
        return child

    async def is_ready(self) -> bool:
        """Return once the process says that it serves, or has ended without."""
        said = b""
        while not said.endswith(READY) and (part := await self._said.receive_some()):
            said += part
        return said.endswith(READY)

    async def let_end(self) -> None:
        """Tell it to drain and to end."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it has ended already
            await self._told.send_all(STOP)
        await self._told.aclose()

    async def ended(self) -> str:
        """Return how the process ended, in words, once it has."""
        status = await self.process.wait()
        await self._told.aclose()
        await self._said.aclose()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


class _Crew:
    """The processes."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket], memory: int, folder: Path) -> None:
        descriptors = tuple(sock.fileno() for sock in sockets)
        self._works = [Work(number + 1, settings, descriptors, memory, folder) for number in range(settings.processes)]
        self._children: dict[int, _Child] = {}
        self._stopping = False

    async def start(self, nursery: trio.Nursery) -> None:
        """Start all, and return once all of them serve; go on watching in the nursery."""
        async with trio.open_nursery() as starting:
            for work in self._works:
                starting.start_soon(nursery.start, self._keep, work)

    async def stop(self) -> None:
        """Let all of them drain and end, side by side; end those that do not."""
        self._stopping = True
        with trio.CancelScope(shield=True):
            children = list(self._children.values())
            for child in children:
                await child.let_end()
            with trio.move_on_after(_STOP_SECONDS):
                for child in children:
                    await child.process.wait()
            for child in children:
                child.process.kill()
                await child.process.wait()

    async def _keep(self, work: Work, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep one process there until all are to stop."""
        pause = _FIRST_PAUSE_SECONDS
        has_served = False
        while True:
            born = trio.current_time()
            child = self._children[work.number] = await _Child.born(work)
            if await child.is_ready():
                if has_served:
                    _log.info("the process is replaced", process=work.number, pid=child.process.pid)
                else:
                    has_served = True
                    task_status.started()
            ending = await child.ended()
            if self._stopping:
                return
            if not has_served:
                raise ProcessFailed(f"process {work.number} of {len(self._works)} does not start: {ending}")
            if trio.current_time() - born > _LONG_LIFE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.error("a process has ended, and will be replaced", process=work.number, ending=ending, seconds=pause)
            await trio.sleep(pause)
            if self._stopping:
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
