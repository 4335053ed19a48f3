"""How fast the rules are: `python -m bench.protocol` prints microseconds a call, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.protocol.scenes import ALICE, KEY, Room
from tricord.protocol.authorization import authorize
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.events import VerifiedEvent, parse_event
from tricord.protocol.identifiers import server_name_of
from tricord.protocol.room_versions import V11
from tricord.protocol.strict_json import parse_object
from tricord.protocol.verify import ServerKey, verify

SECONDS = 0.5


def microseconds(call: Callable[[], object]) -> float:
    """Return what a call takes, as the best of three runs."""
    best = float("inf")
    for _ in range(3):
        count, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < SECONDS:
            for _ in range(100):
                call()
            count += 100
        best = min(best, elapsed / count)
    return best * 1e6


def main() -> None:
    """Measure with a message of about a kilobyte."""
    room = Room(V11)
    room.join_rule("public")
    room.levels(users={ALICE: 100})
    content = {"msgtype": "m.text", "body": "x" * 300, "m.mentions": {"user_ids": [ALICE]}, "format": "y" * 100}
    event = room.event(ALICE, "m.room.message", None, content)
    keys = {(server_name_of(ALICE), KEY.key_id): ServerKey(KEY.public_key, 2**60)}

    def receive() -> None:
        authorize(verify(parse_event(event.json, V11), keys), room.state)

    calls: dict[str, Callable[[], object]] = {
        "canonical_json": lambda: canonical_json(event.pdu),
        "parse_object": lambda: parse_object(event.json),
        "parse_event": lambda: parse_event(event.json, V11),
        "from_stored": lambda: VerifiedEvent.from_stored(event.json, V11, event.event_id),
        "build_event": lambda: room.event(ALICE, "m.room.message", None, content),
        "authorize": lambda: authorize(event, room.state),
        "parse, verify and authorize": receive,
    }
    print(f"an event of {len(event.json)} bytes")
    for name, call in calls.items():
        taken = microseconds(call)
        print(f"{name:30} {taken:8.2f} µs {1e6 / taken:12,.0f}/s")


if __name__ == "__main__":
    main()
