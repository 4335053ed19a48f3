"""What the SDK's encryption takes of one core: `python -m bench.machine`. No network; the store is a file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.clients.encryption.town import ROOM, Somebody, Town

DEVICES = 1000
MESSAGES = 500
KEYS = 1000


def measured(what: str, times: int, action: Callable[[], object]) -> None:
    """Do something, and print what one of it took, of the clock and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    action()
    wall, cpu = (time.perf_counter() - began) / times, (time.process_time() - used) / times
    print(f"{what:60} {wall * 1000:8.2f} ms, of them {cpu * 1000:.2f} ms of one core")


def main() -> None:
    """Measure, with a room of a thousand devices."""
    with tempfile.TemporaryDirectory() as folder:
        town = Town()
        town.state["m.room.encryption"]["rotation_period_msgs"] = 10_000
        alice, bob = (
            Somebody(town, "alice", path=Path(folder) / "alice"),
            Somebody(town, "bob", path=Path(folder) / "bob"),
        )
        for number in range(DEVICES - 1):
            town.stranger(f"@user{number}:localhost", "PHONE")
        measured(f"first message: devices, keys, to {DEVICES} devices", 1, alice.say)
        content = {"msgtype": "m.text", "body": "x" * 200}

        def say() -> None:
            for _ in range(MESSAGES):
                town.event(alice.machine, alice.machine.encrypt(ROOM, "m.room.message", content))

        measured("encrypt a message in an established room", MESSAGES, say)
        bob.sync()
        measured("decrypt a message, of a sync of 500", MESSAGES, lambda: bob.machine.decrypt_all(ROOM, town.timeline))

        town.members = dict.fromkeys((alice.user_id, bob.user_id), "join")
        town.state["m.room.encryption"]["rotation_period_msgs"] = 1
        alice.learn_room()
        for _ in range(KEYS):
            alice.say()
        received = bob.content()
        measured("take in a room key", KEYS, lambda: bob.machine.receive(received, since=bob.since))
        alice.store.close()
        bob.store.close()


if __name__ == "__main__":
    main()
