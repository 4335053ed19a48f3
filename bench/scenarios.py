"""What can be measured of one server, by name."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from bench import encryption, large_rooms, media, reading, sending, syncing
from bench.scenario import Bench


@dataclass(frozen=True)
class Scenario:
    """One kind of work, and how long it takes on a quiet machine of two cores."""

    act: Callable[[Bench], Awaitable[None]]
    synapse_seconds: float
    """To make its rooms, and whatever does not depend on how long a rate is measured."""
    our_seconds: float
    rates: int = 0
    """How many rates it measures, each as long as the options say."""
    ours_alone: bool = False
    on_request: bool = False
    """Whether it is left out unless it is asked for by name."""


ALL: dict[str, Scenario] = {
    "sends": Scenario(sending.sends, 15, 8, rates=3),
    "latency": Scenario(sending.latency, 8, 3, rates=2),
    "create": Scenario(large_rooms.create_rooms, 2, 2, rates=1),
    "sync": Scenario(syncing.sync, 15, 3, rates=2),
    "idle_sync": Scenario(syncing.idle_sync, 5, 2),
    "initial_sync": Scenario(syncing.initial_sync, 40, 4),
    "windows": Scenario(syncing.windows, 5, 2),
    "messages": Scenario(large_rooms.messages, 140, 6),
    "reads": Scenario(reading.reads, 10, 2, rates=4),
    "members": Scenario(large_rooms.members, 160, 30),
    "crowd": Scenario(large_rooms.crowd, 160, 25),
    "keys": Scenario(encryption.keys, 50, 10, rates=2),
    "to_device": Scenario(encryption.to_device, 1, 1, rates=2),
    "media": Scenario(media.media, 5, 5),
    "large_files": Scenario(media.large_files, 15, 10, on_request=True),
    "websocket": Scenario(syncing.websocket, 0, 15, rates=2, ours_alone=True),
    "many_windows": Scenario(syncing.many_windows, 0, 40, ours_alone=True),
}


def chosen_of(names: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads names with commas between them from the command line."""

    def chosen(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := set(wanted) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(names)}")
        return wanted

    return chosen
