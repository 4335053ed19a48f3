"""Conversations in which anything may happen at any time: whoever was there reads all that was said."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.clients.encryption.town import Somebody, Town, member

HOUR_MS = 3_600_000
DEVICES = (("alice", "PHONE"), ("alice", "TABLET"), ("bob", "PHONE"), ("carol", "PHONE"))
STEPS = 150
DAVE = "@dave:localhost"


class Conversation:
    """One of them, by its seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._dice = random.Random(seed)
        self.town = Town()
        self.people = [Somebody(self.town, name, device, path=folder / f"{name}{device}") for name, device in DEVICES]
        self.town.stranger(DAVE, "PHONE")
        self._move_dave()

    def step(self, *, sessions_are_lost: bool) -> None:
        who = self._dice.choice(self.people)
        match self._dice.random():
            case chance if chance < 0.45:
                who.say()
            case chance if chance < 0.8:
                who.sync()
            case chance if chance < 0.85:
                self.town.now_ms += self._dice.randrange(30 * HOUR_MS)
            case chance if chance < 0.9:
                who.restart()
            case chance if chance < 0.95:
                self._move_dave()
            case _ if sessions_are_lost:
                with who.store.transaction():
                    who.store.change("DELETE FROM olm_sessions")

    def settle(self) -> None:
        """Let everybody hear of everything, and an hour go by, after which sessions may be renewed."""
        for _ in range(3):
            self.town.now_ms += HOUR_MS + 1
            for somebody in self.people:
                somebody.sync()

    def _move_dave(self) -> None:
        membership = "leave" if DAVE in self.town.members else "join"
        if membership == "join":
            self.town.members[DAVE] = membership
        else:
            del self.town.members[DAVE]
        for somebody in self.people:
            somebody.sync(member(DAVE, membership))


@pytest.mark.parametrize("seed", range(3))
def test_whoever_was_there_reads_all_that_was_said(seed: int, tmp_path: Path) -> None:
    conversation = Conversation(seed, tmp_path)
    for _ in range(STEPS):
        conversation.step(sessions_are_lost=False)
    conversation.settle()
    for somebody in conversation.people:
        for event in conversation.town.timeline:
            assert somebody.read(event).content["body"] == "Hello"


@pytest.mark.parametrize("seed", range(3))
def test_broken_sessions_heal(seed: int, tmp_path: Path) -> None:
    conversation = Conversation(seed, tmp_path)
    for _ in range(STEPS):
        conversation.step(sessions_are_lost=True)
    # What was sent meanwhile may be lost; what is said from now on is read. Keys of before may be among what was lost.
    conversation.settle()
    conversation.town.now_ms += 8 * 24 * HOUR_MS
    for speaker in conversation.people:
        event = speaker.say("after all")
        for listener in conversation.people:
            assert listener.hears(event) == "after all"
