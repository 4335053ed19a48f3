"""A program of its own: holds a script ready, with all it imports, and gives each job a copy of itself that runs it.

To start an interpreter and to import a library of images takes longer than most images do. A copy (fork) has its own
limits and its own end, as a process that was started for the job would have, and sees of this one nothing but what the
script has imported; no foreign byte is looked at here. It is started as a script, and imports nothing of the package.

    warm_worker.py SCRIPT DESCRIPTOR

A job comes on the socket with that descriptor: its arguments, separated by NUL, and with them three descriptors, of
which the copy reads, of which it writes, and on which its exit status is told. When that is closed, the copy is killed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import selectors
import signal
import socket
import struct
import sys
from types import ModuleType

LONGEST_JOB = 4096
STATUS = struct.Struct("!i")
MOST_DESCRIPTORS = 4096


def loaded(script: str) -> ModuleType:
    """Return a script as a module, with what it imports late imported."""
    spec = importlib.util.spec_from_file_location("script", script)
    assert spec is not None  # noqa: S101  # it is a file of ours
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare()
    return module


def copy(module: ModuleType, arguments: list[str], source: int, target: int) -> None:
    """Run the script in a copy, and end."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(source, 0)
        os.dup2(target, 1)
        os.closerange(3, MOST_DESCRIPTORS)
        status = module.main(arguments)
    finally:
        # Without the interpreter's long goodbye.
        os._exit(status)


class Copies:
    """The jobs under way."""

    def __init__(self, module: ModuleType, selector: selectors.BaseSelector) -> None:
        self._module = module
        self._selector = selector
        self._reports: dict[int, socket.socket] = {}

    def begin(self, arguments: list[str], source: int, target: int, report: int) -> None:
        """Make a copy for a job."""
        pid = os.fork()
        if pid == 0:
            copy(self._module, arguments, source, target)
        os.close(source)
        os.close(target)
        self._reports[pid] = socket.socket(fileno=report)
        self._selector.register(self._reports[pid], selectors.EVENT_READ, pid)

    def reap(self) -> None:
        """Tell of those that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            report = self._reports.pop(pid)
            with contextlib.suppress(KeyError):
                self._selector.unregister(report)
            with contextlib.suppress(OSError):
                report.send(STATUS.pack(os.waitstatus_to_exitcode(status)))
            report.close()

    def give_up(self, pid: int) -> None:
        """Kill one that nobody waits for."""
        self._selector.unregister(self._reports[pid])
        os.kill(pid, signal.SIGKILL)

    def give_up_all(self) -> None:
        """Kill all."""
        for pid in self._reports:
            os.kill(pid, signal.SIGKILL)


def main(script: str, descriptor: str) -> None:
    """Serve jobs until nobody can send any more."""
    jobs = socket.socket(fileno=int(descriptor))
    ended, end = socket.socketpair()
    end.setblocking(False)
    signal.set_wakeup_fd(end.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    copies = Copies(loaded(script), selector)
    # What is shared with the copies stays so: to look for garbage is to write to every object.
    gc.disable()
    gc.freeze()
    selector.register(jobs, selectors.EVENT_READ, "job")
    selector.register(ended, selectors.EVENT_READ, "end")
    while True:
        for key, _ in selector.select():
            if key.data == "job":
                words, descriptors, _, _ = socket.recv_fds(jobs, LONGEST_JOB, 3)
                if len(descriptors) != 3:
                    copies.give_up_all()
                    return
                copies.begin(words.decode().split("\0"), *descriptors)
            elif key.data == "end":
                ended.recv(LONGEST_JOB)
                copies.reap()
            elif key.data in copies._reports:  # noqa: SLF001  # it may have been reaped a moment ago
                copies.give_up(key.data)


if __name__ == "__main__":
    main(*sys.argv[1:])
