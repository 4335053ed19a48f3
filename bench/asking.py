"""Asking as fast as one thread can, over many connections: bare sockets, one `epoll`, requests made once.

What the load generator takes of the processors, servers cannot have. So it looks at an answer no further than to find
its end, and `ceiling` tells how much of this it can do: what it gets from somebody who does nothing but answer.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.answer import Answer, Refused

_READ = 1 << 18
_PATIENCE_SECONDS = 60


@dataclass
class Answered:
    """What came of asking."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """What it took the load generator."""
    latencies: list[float] = field(default_factory=list)
    answer_bytes: int = 0
    """The size of the last answer, with its head."""

    @property
    def per_second(self) -> float:
        """How many answers came in a second."""
        return len(self.latencies) / self.seconds


def ask(base_url: str, requests: Sequence[Iterator[bytes]], seconds: float) -> Answered:
    """Make requests one after another for some time, over a connection for each of the iterators. Raises Refused."""
    answered = Answered()
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(contextlib.closing(select.epoll()))
        lines = {}
        for each in requests:
            line = _Line(stack.enter_context(_connected(base_url)), each)
            lines[line.number] = line
            epoll.register(line.number, select.EPOLLIN)
        began, began_cpu = time.perf_counter(), time.thread_time()
        end = began + seconds
        for line in lines.values():
            line.send()
        open_lines = len(lines)
        while open_lines:
            ready = epoll.poll(_PATIENCE_SECONDS)
            if not ready:
                raise TimeoutError(f"no answer within {_PATIENCE_SECONDS} s")
            for number, _ in ready:
                line = lines[number]
                if not line.has_answer():
                    continue
                now = time.perf_counter()
                answered.latencies.append(now - line.asked)
                if now < end:
                    line.send()
                else:
                    open_lines -= 1
                    epoll.unregister(number)
                    answered.answer_bytes = line.answer_bytes
        answered.seconds = time.perf_counter() - began
        answered.cpu_seconds = time.thread_time() - began_cpu
    return answered


def ceiling(like: Answered, request: bytes, connections: int, seconds: float) -> Answered:
    """Return what comes of asking somebody who answers with so many bytes at once, and does nothing else."""
    command = [sys.executable, "-m", "bench.answering", str(like.answer_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as responder:
        assert responder.stdout is not None
        try:
            return ask(responder.stdout.readline().strip(), [itertools.repeat(request)] * connections, seconds)
        finally:
            responder.kill()


class _Line:
    """A connection. A request fits into its buffer."""

    def __init__(self, sock: socket.socket, requests: Iterator[bytes]) -> None:
        sock.setblocking(False)
        self.number = sock.fileno()
        self.asked = 0.0
        self.answer_bytes = 0
        self._send, self._receive = sock.send, sock.recv
        self._requests = requests
        self._answer = Answer()

    def send(self) -> None:
        request = next(self._requests)
        self.asked = time.perf_counter()
        self._send(request)

    def has_answer(self) -> bool:
        """Take what has come; return whether the answer is whole now. Raises Refused."""
        answer = self._answer
        while not answer.is_whole:
            try:
                data = self._receive(_READ)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            if not data:
                raise ConnectionError("the server closed the connection")
            answer.feed(data)
        if answer.status >= 400:
            raise Refused(f"{answer.status} {answer.body()[:300]!r}")
        self.answer_bytes = answer.size
        self._answer = Answer()
        return True


@contextlib.contextmanager
def _connected(base_url: str) -> Iterator[socket.socket]:
    parts = urlsplit(base_url)
    host = parts.hostname or "127.0.0.1"
    is_secure = parts.scheme == "https"
    with contextlib.closing(
        socket.create_connection((host, parts.port or (443 if is_secure else 80)), timeout=_PATIENCE_SECONDS)
    ) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not is_secure:
            yield sock
            return
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(sock, server_hostname=host) as secure:
            yield secure
