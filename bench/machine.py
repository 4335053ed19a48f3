"""What the SDK's encryption takes of one core: `python -m bench.machine`. No network; the store is a file."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.clients.encryption.storm import strangers_write_to
from tests.clients.encryption.town import ROOM, Somebody, Town

DEVICES = 1000
MESSAGES = 500
KEYS = 1000
STRANGERS = 5000
# As homeservers give them.
MESSAGES_IN_A_SYNC = 100


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
        storm(Path(folder) / "carol")


def storm(path: Path) -> None:
    """Measure coming back to a message of each of very many devices that are new."""
    town = Town()
    carol = Somebody(town, "carol", path=path)
    carol.learn_room()
    strangers_write_to(town, carol, STRANGERS)
    content = carol.content()
    messages = content["to_device"]["events"]
    before = peak_mebibytes()

    def take_in() -> None:
        for start in range(0, STRANGERS, MESSAGES_IN_A_SYNC):
            events = messages[start : start + MESSAGES_IN_A_SYNC]
            part = {**content, "to_device": {"events": events}, "next_batch": f"s{start}"}
            carol.machine.receive(part, since=carol.machine.position)

    measured(f"take in a key of a new device, of {STRANGERS} devices", STRANGERS, take_in)
    measured(f"learn a new device, of {STRANGERS}", STRANGERS, carol.settle)
    print(f"of memory, for both: {peak_mebibytes() - before} MiB more than before")
    carol.store.close()


def peak_mebibytes() -> int:
    """Return how much memory we have had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
