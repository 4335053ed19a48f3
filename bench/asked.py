"""What is asked for: by how many times each figure is to be better than Synapse's, on the same machine in the same run.

The order is that of the table which `python -m bench` prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.large_rooms import BYTES_PER_JOIN


@dataclass(frozen=True)
class Asked:
    """One figure that something is asked of."""

    work: str
    """In the words of the table; `{members}` and the like are values of the same row."""
    row: str
    key: str
    times: float | None = None
    """By how many times ours is to be better than that of Synapse."""
    at_least: float | None = None
    """What ours is to reach, with nothing to compare it with."""
    none: str = ""
    """A value of the same row that is to be zero."""


IDLE = "memory, idle"
AFTER_ALL = "memory, after the whole run"
OURS_AFTER_MORE = "memory, and after 1,000 WebSockets and 2,000 rooms of one user"
START = "start to first answer"

ASKED = (
    Asked("sends in 50 rooms", "sends, 50 rooms", "per_second", 40),
    Asked("sends, 32 senders in one room", "sends, 32 senders in one room", "per_second", 40),
    Asked("sends, one after another", "sends, one after another", "per_second", 15),
    Asked("send latency at 20 a second, p50", "send latency at 20/s", "p50_ms", 6),
    Asked("createRoom, 8 at once", "createRoom, 8 at once", "per_second", 30),
    Asked("delivery to 100 that wait in `/sync`, p50", "delivery to 100 waiting /sync", "p50_ms", 20),
    Asked("the same in a burst, deliveries", "burst to 100 waiting /sync", "per_second", 20),
    Asked("burst to 1,000 WebSockets, deliveries", "burst to 1,000 WebSockets", "per_second", at_least=30_000),
    Asked("initial `/sync` of 200 rooms, p50", "initial /sync, 200 rooms", "p50_ms", 10),
    Asked("sliding sync, window of 20 rooms, p50", "window of 20 rooms out of 200", "p50_ms", 5),
    Asked("one event into an idle `/sync`, p50", "/sync with one event", "p50_ms", 5),
    Asked("idle `/sync`, p50", "/sync with nothing new", "p50_ms", 3),
    Asked("`/messages`, page of 100 in 10,000 events, p50", "/messages, pages of 100", "p50_ms", 5),
    Asked("local join storm of 500", "joins of 500 to a room of 1,500", "per_second", 40),
    Asked("`/members` of 2,000, p50", "/members of 2,000", "p50_ms", 5),
    Asked("`/state` of 2,000, p50", "/state of 2,000", "p50_ms", 5),
    Asked("`/joined_members` of 2,000, p50", "/joined_members of 2,000", "p50_ms", 2),
    Asked("`keys/query` of 1, 16 at once", "keys/query, 1 user, 16 at once", "per_second", 10),
    Asked("`keys/claim` of 1, 16 at once", "keys/claim, 1 key, 16 at once", "per_second", 10),
    Asked("`sendToDevice` to 1, 8 at once", "sendToDevice to 1 devices, 8 at once", "per_second", 10),
    Asked("send to delivery on another server, p50", "delivery to the other server at 20/s", "p50_ms", 6),
    Asked("burst to another server", "burst to the other server", "per_second", 50),
    Asked("catching up with 1,000 messages", "catching up with 1,000", "seconds", 10, none="missing"),
    Asked("remote join of 10: room in `/sync`", "remote join of 10: room in /sync", "seconds", 3),
    Asked("remote join of 10: every member listed", "remote join of 10: every member listed", "seconds", 4),
    Asked("remote join of 500: room in `/sync`", "remote join of 500: room in /sync", "seconds", 3),
    Asked("remote join of 500: every member listed", "remote join of 500: every member listed", "seconds", 4),
    Asked("remote join of 2,000: room in `/sync`", "remote join of 2,000: room in /sync", "seconds", 3),
    Asked("remote join of 2,000: every member listed", "remote join of 2,000: every member listed", "seconds", 4),
    Asked("upload of 1 MiB", "upload of 1 MiB", "per_second", 2),
    Asked("download of 1 MiB", "download of 1 MiB", "per_second", 2),
    Asked("picture with five thumbnails", "picture of 1600 x 1200 with five thumbnails", "per_second", 2),
    Asked("memory resident, idle", IDLE, "MiB", 2),
    Asked("memory resident, after the whole run", AFTER_ALL, "MiB", 2),
    Asked("CPU per send, server and PostgreSQL", "CPU per send, server and PostgreSQL", "ms", 25),
    Asked("bytes in the database per message", "bytes in the database per message", "bytes", 2),
    Asked("bytes in the database per join in a room of {members:,.0f}", BYTES_PER_JOIN, "bytes", 2),
    Asked("start to first answer, on a database that is there", START, "seconds", 2),
)
