"""Keys for those whose server could not tell their devices when a message was sent: given later, if they may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.encryption.town import ROOM, Somebody, Town, member
from tricord.clients.encryption.devices import Trust
from tricord.clients.encryption.errors import Reason
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import KeysQuery

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


class Scene:
    """Alice, and Carol, whose server is away."""

    def __init__(self, path: Path | None = None, *, policy: Policy = Policy.KNOWN) -> None:
        self.town = Town()
        self.alice = Somebody(self.town, "alice", path=path, policy=policy)
        self.carol = Somebody(self.town, "carol", server="away")
        self.town.failures = {"away": {"status": 503}}

    def back(self) -> None:
        """Let Carol's server be back, and the time pass after which it is asked again."""
        self.town.failures = {}
        self.town.now_ms += MINUTE_MS
        self.alice.settle()
        self.carol.sync()

    def owes_nothing(self) -> bool:
        """Return whether Alice keeps nothing for later."""
        return not any(self.alice.store.rows(f"SELECT 1 FROM {table}") for table in ("owed_keys", "owed_session_keys"))


def test_who_could_not_be_told_of_reads_everything_later() -> None:
    scene = Scene()
    first, second = scene.alice.say("first"), scene.alice.say("second")
    scene.carol.sync()
    assert scene.carol.reason(first, wait=True).reason is Reason.NO_KEY
    scene.back()
    assert [late.event for late in scene.carol.late()] == [first]
    assert scene.carol.read(first).content["body"] == "first"
    assert scene.carol.read(second).content["body"] == "second"
    assert scene.owes_nothing()
    assert scene.carol.hears(scene.alice.say("third")) == "third"
    assert scene.alice.hears(scene.carol.say("I see")) == "I see"


def test_they_are_given_nothing_of_before_their_time() -> None:
    scene = Scene()
    del scene.town.members[scene.carol.user_id]
    before = scene.alice.say("before Carol came")
    scene.town.members[scene.carol.user_id] = "join"
    scene.alice.sync(member(scene.carol.user_id))
    after = scene.alice.say("after")
    assert before["content"]["session_id"] == after["content"]["session_id"]
    scene.back()
    assert scene.carol.read(after).content["body"] == "after"
    assert scene.carol.reason(before).reason is Reason.KEY_TOO_LATE


def test_what_is_owed_outlives_a_restart_and_a_change_of_the_session(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "alice")
    scene.town.state["m.room.encryption"]["rotation_period_msgs"] = 2
    events = [scene.alice.say(text) for text in ("one", "two", "three")]
    assert len({event["content"]["session_id"] for event in events}) == 2
    scene.alice.restart()
    scene.back()
    assert [scene.carol.read(event).content["body"] for event in events] == ["one", "two", "three"]
    assert scene.owes_nothing()


def test_a_new_device_of_somebody_known_reads_what_was_said_while_it_could_not_be_told() -> None:
    scene = Scene()
    scene.town.failures = {}
    assert scene.carol.hears(scene.alice.say("before")) == "before"
    tablet = Somebody(scene.town, "carol", "TABLET", server="away")
    scene.town.failures = {"away": {"status": 503}}
    scene.alice.sync()
    event = scene.alice.say("meanwhile")
    assert scene.carol.hears(event) == "meanwhile"
    tablet.sync()
    assert tablet.reason(event).reason is Reason.NO_KEY
    scene.back()
    assert tablet.hears(event) == "meanwhile"
    assert tablet.reason(scene.town.timeline[0]).reason is Reason.KEY_TOO_LATE


def test_news_of_their_devices_bring_the_key_at_once() -> None:
    scene = Scene()
    event = scene.alice.say("Hello")
    scene.town.failures = {}
    scene.town.changed.append(scene.carol.user_id)
    scene.alice.sync()
    assert scene.carol.hears(event) == "Hello"


def test_a_device_without_one_time_keys_reads_everything_later() -> None:
    scene = Scene()
    scene.town.failures = {}
    scene.town.unanswered_claims.add(scene.carol.user_id)
    first, second = scene.alice.say("first"), scene.alice.say("second")
    scene.town.unanswered_claims.clear()
    scene.back()
    assert scene.carol.read(first).content["body"] == "first"
    assert scene.carol.read(second).content["body"] == "second"
    assert scene.owes_nothing()


@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_who_has_left_since_is_given_nothing(membership: str) -> None:
    scene = Scene()
    event = scene.alice.say("Hello")
    scene.town.members[scene.carol.user_id] = membership
    scene.alice.sync(member(scene.carol.user_id, membership))
    scene.back()
    assert scene.carol.reason(event).reason is Reason.NO_KEY
    assert scene.owes_nothing()


def test_who_has_left_unseen_is_given_nothing() -> None:
    scene = Scene()
    event = scene.alice.say("Hello")
    del scene.town.members[scene.carol.user_id]
    scene.alice.learn_room()
    scene.back()
    assert scene.carol.reason(event).reason is Reason.NO_KEY


def test_a_device_that_was_not_trusted_then_is_not_given_what_was_said_then() -> None:
    scene = Scene()
    scene.town.failures = {}
    assert scene.carol.hears(scene.alice.say("before")) == "before"
    phone = scene.alice.machine.devices_of(scene.carol.user_id)[scene.carol.device_id]
    scene.alice.machine.set_trust(phone, Trust.BLOCKED)
    scene.town.failures = {"away": {"status": 503}}
    scene.town.changed.append(scene.carol.user_id)
    scene.alice.sync()
    event = scene.alice.say("not for this device")
    scene.alice.machine.set_trust(phone, Trust.UNSET)
    scene.back()
    reason = scene.carol.reason(event)
    assert (reason.reason, reason.code) == (Reason.WITHHELD, "m.blacklisted")
    assert scene.carol.hears(scene.alice.say("trusted again")) == "trusted again"


def test_devices_that_turn_out_not_to_be_trusted_are_told_why_they_get_nothing() -> None:
    scene = Scene(policy=Policy.CROSS_SIGNED)
    event = scene.alice.say("Hello")
    scene.back()
    reason = scene.carol.reason(event)
    assert (reason.reason, reason.code) == (Reason.WITHHELD, "m.unverified")
    assert scene.owes_nothing()


def test_what_was_owed_for_a_week_is_not_given_any_more() -> None:
    scene = Scene()
    event = scene.alice.say("Hello")
    scene.town.now_ms += 8 * DAY_MS
    scene.back()
    assert scene.carol.reason(event).reason is Reason.NO_KEY
    assert scene.owes_nothing()


def test_a_server_that_stays_away_is_asked_ever_more_rarely() -> None:
    scene = Scene()
    scene.alice.say("Hello")
    scene.town.made.clear()
    for _ in range(120):
        scene.town.now_ms += MINUTE_MS
        scene.alice.settle()
    assert 8 <= len([request for request in scene.town.made if isinstance(request, KeysQuery)]) <= 12
    assert scene.alice.machine.prepare(ROOM)
