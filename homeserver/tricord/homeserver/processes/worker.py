"""One of several processes that serve: `python -m tricord.homeserver.processes.worker`, as the supervisor starts it."""

from __future__ import annotations

import mmap
import os
import signal
import socket
from typing import TYPE_CHECKING

from tricord.homeserver.faults import faults_end_the_process
from tricord.homeserver.garbage import collect_new, collect_seldom
from tricord.homeserver.loading import leave_out_extras
from tricord.homeserver.processes.work import READY, STOP, Work

if TYPE_CHECKING:
    import trio


def main() -> None:
    """Serve until told to stop."""
    collect_new()
    leave_out_extras()
    import trio

    from tricord.homeserver.heap import keep_one_heap
    from tricord.homeserver.logs import configure_logs

    keep_one_heap()
    # Ctrl-C reaches all processes of a terminal: the one that watches says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told, said = os.dup(0), os.dup(1)
    # Whatever prints must not speak for us.
    os.dup2(2, 1)
    work = Work.read(told)
    configure_logs(work.settings.log, process=work.number)
    with faults_end_the_process():
        trio.run(_serve, work, told, said)


async def _serve(work: Work, told: int, said: int) -> None:
    import trio

    from tricord.homeserver.app import run_on
    from tricord.homeserver.assembly.foundation import Common
    from tricord.homeserver.storage.database import open_database
    from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
    from tricord.homeserver.stream.siblings import Siblings

    settings = work.settings
    place = work.number - 1
    memory = CommonMemory(mmap.mmap(work.memory, SIZE), place, settings.processes)
    common = Common(memory, Siblings(work.folder, memory))
    sockets = [socket.socket(fileno=descriptor) for descriptor in work.sockets]
    url = settings.database.url.get_secret_value()
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        nursery.start_soon(_heed, told, stop, nursery.cancel_scope)
        nursery.start_soon(_stop_on_signal, stop)
        async with (
            open_database(url, connections=settings.database.connections) as database,
            run_on(database, settings, common=common, sockets=sockets),
        ):
            collect_seldom()
            os.write(said, READY)
            await stop.wait()
        nursery.cancel_scope.cancel()


async def _heed(told: int, stop: trio.Event, whole: trio.CancelScope) -> None:
    """Stop well when told to, and at once when nobody is there any more to tell."""
    import trio

    heard = b""
    async with trio.lowlevel.FdStream(told) as pipe:
        while part := await pipe.receive_some():
            heard += part
    if heard == STOP:
        stop.set()
    else:
        whole.cancel()


async def _stop_on_signal(stop: trio.Event) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


if __name__ == "__main__":
    main()
