"""Somebody who answers all that comes with the same bytes: what the load generator can do is measured against them.

    python -m bench.answering BYTES

prints the URL. One request is in what is read at once, and nothing else.
"""

from __future__ import annotations

import select
import socket
import sys


def main() -> None:
    """Answer, for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    body = b"x" * max(0, int(sys.argv[1]) - len(head) - 2)
    answer = head % len(body) + body
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    epoll = select.epoll()
    epoll.register(listening, select.EPOLLIN)
    lines: dict[int, socket.socket] = {}
    while True:
        for number, _ in epoll.poll():
            if number == listening.fileno():
                line, _ = listening.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                lines[line.fileno()] = line
                epoll.register(line, select.EPOLLIN)
            elif lines[number].recv(1 << 16):
                lines[number].sendall(answer)
            else:
                epoll.unregister(number)
                lines.pop(number).close()


if __name__ == "__main__":
    main()
