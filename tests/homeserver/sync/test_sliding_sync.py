"""What people are told who look at windows of their rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.server import sync_server
from tests.homeserver.sync.windows import SYNC, Window, bodies, first
from tricord.homeserver.storage.database import Database

People = Callable[[str], Follower]
LAZY = [["m.room.member", "$LAZY"], ["m.room.name", ""]]


def state_of(room: Any) -> dict[tuple[str, str], Any]:
    return {(event["type"], event["state_key"]): event["content"] for event in room["required_state"]}


async def rooms_of(owner: Follower, count: int) -> list[str]:
    return [await owner.create_room(preset="public_chat", name=f"Room {number}") for number in range(count)]


async def test_a_window_shows_the_most_active_rooms_and_counts_all(alice: Follower) -> None:
    rooms = await rooms_of(alice, 4)
    await alice.say(rooms[0], "Hello")
    window = Window(alice, first(2))
    answer = await window.look()
    assert set(answer["rooms"]) == {rooms[0], rooms[3]}
    assert answer["lists"] == {"all": {"count": 4}}
    room = answer["rooms"][rooms[0]]
    assert room["initial"] is True
    assert room["name"] == "Room 0"
    assert bodies(room) == ["Hello"]
    assert (room["limited"], room["num_live"], room["joined_count"], room["membership"]) == (True, 0, 1, "join")
    assert room["bump_stamp"] > answer["rooms"][rooms[3]]["bump_stamp"]


async def test_a_larger_window_tells_only_what_was_not_told(alice: Follower) -> None:
    rooms = await rooms_of(alice, 4)
    window = Window(alice, first(2))
    assert set((await window.look())["rooms"]) == {rooms[3], rooms[2]}
    window.lists = first(4)
    assert set((await window.look())["rooms"]) == {rooms[1], rooms[0]}
    assert (await window.look())["rooms"] == {}


async def test_a_message_wakes_those_who_wait_and_is_told_once(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    window = Window(bob, first(5, state=LAZY))
    await window.look()
    async with trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def wait() -> None:
            answers.append(await window.look(30_000))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await alice.say(room, "Hello")
    told = answers[0]["rooms"][room]
    assert bodies(told) == ["Hello"]
    assert "initial" not in told
    assert (told["limited"], told["num_live"]) == (False, 1)
    # He has been told of Alice with the first answer.
    assert told["required_state"] == []
    assert (await window.look())["rooms"] == {}


async def test_a_room_that_was_not_looked_at_catches_up_when_it_is(alice: Follower) -> None:
    rooms = await rooms_of(alice, 2)
    window = Window(alice, first(2))
    await window.look()
    window.lists = {}
    await alice.say(rooms[0], "while away")
    await window.look()
    window.lists = first(2)
    answer = await window.look()
    assert set(answer["rooms"]) == {rooms[0]}
    assert bodies(answer["rooms"][rooms[0]]) == ["while away"]
    assert "initial" not in answer["rooms"][rooms[0]]


async def test_a_lost_answer_is_told_again(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    window = Window(alice, first(1))
    await window.look()
    before = window.pos
    await alice.say(room, "Hello")
    assert bodies((await window.look())["rooms"][room]) == ["Hello"]
    window.pos = before
    assert bodies((await window.look())["rooms"][room]) == ["Hello"]


async def test_a_higher_limit_expands_the_timeline_at_once(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    for number in range(5):
        await alice.say(room, f"{number}")
    window = Window(alice, first(1, limit=1))
    assert bodies((await window.look())["rooms"][room]) == ["4"]
    window.subscriptions = {room: {"timeline_limit": 4, "required_state": []}}
    told = (await window.look(30_000))["rooms"][room]
    assert bodies(told) == ["1", "2", "3", "4"]
    assert (told["unstable_expanded_timeline"], told["num_live"]) == (True, 0)
    window.subscriptions = {}
    assert (await window.look())["rooms"] == {}
    window.subscriptions = {room: {"timeline_limit": 4, "required_state": []}}
    assert (await window.look())["rooms"] == {}


async def test_state_that_was_not_asked_for_before_is_told_when_it_is(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    window = Window(alice, first(1, state=[["m.room.create", ""]]))
    assert set(state_of((await window.look())["rooms"][room])) == {("m.room.create", "")}
    window.lists = first(1, state=[["m.room.create", ""], ["m.room.join_rules", "*"], ["m.room.member", "$ME"]])
    told = state_of((await window.look())["rooms"][room])
    assert {("m.room.join_rules", ""), ("m.room.member", alice.user_id)} <= told.keys()
    window.lists = first(1, state=[["*", "*"]])
    assert ("m.room.history_visibility", "") in state_of((await window.look())["rooms"][room])


async def test_everything_but_members_is_told_with_those_who_speak(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    for number in range(3):
        await alice.say(room, f"{number}")
    everything = {"include": [{}], "exclude": [{"type": "m.room.create"}], "lazy_members": True}
    window = Window(alice, {"all": {"range": [0, 9], "timeline_limit": 3, "required_state": everything}})
    told = state_of((await window.look())["rooms"][room])
    assert ("m.room.name", "") in told
    assert ("m.room.create", "") not in told
    assert [key[1] for key in told if key[0] == "m.room.member"] == [alice.user_id]
    await bob.say(room, "I am here too")
    told = state_of((await window.look())["rooms"][room])
    assert [key[1] for key in told if key[0] == "m.room.member"] == [bob.user_id]


async def test_changes_of_state_names_and_members_are_told(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    window = Window(alice, first(1, limit=1, state=[["m.room.topic", ""], ["m.room.name", ""]]))
    await window.look()
    await alice.put(f"/v3/rooms/{quote(room)}/state/m.room.name/", {"name": "Tea"})
    await alice.put(f"/v3/rooms/{quote(room)}/state/m.room.topic/", {"topic": "Green"})
    await bob.join(room)
    told = (await window.look())["rooms"][room]
    assert (told["name"], told["joined_count"], told["limited"]) == ("Tea", 2, True)
    assert state_of(told) == {("m.room.name", ""): {"name": "Tea"}, ("m.room.topic", ""): {"topic": "Green"}}
    await alice.put(f"/v3/rooms/{quote(room)}/state/m.room.name/", {})
    told = (await window.look())["rooms"][room]
    assert told["name"] is None
    assert [hero["user_id"] for hero in told["heroes"]] == [bob.user_id]


async def test_what_relates_to_events_is_told_where_a_timeline_begins(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    root = await alice.say(room, "root")
    await alice.say(room, "answer", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    told = (await Window(alice, first(1)).look())["rooms"][room]
    unsigned = next(event["unsigned"] for event in told["timeline"] if event["event_id"] == root)
    assert unsigned["m.relations"]["m.thread"]["count"] == 1


async def test_an_invitation_is_told_stripped_and_becomes_a_room_by_joining(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(name="Secret", preset="private_chat")
    await alice.say(room, "not for Bob")
    await alice.invite(room, bob)
    window = Window(bob, first(5))
    told = (await window.look())["rooms"][room]
    assert (told["membership"], told["initial"]) == ("invite", True)
    stripped = {(event["type"], event["state_key"]): event["content"] for event in told["invite_state"]}
    assert stripped["m.room.name", ""] == {"name": "Secret"}
    assert stripped["m.room.member", bob.user_id]["membership"] == "invite"
    assert "timeline" not in told
    assert (await window.look())["rooms"] == {}
    await bob.join(room)
    told = (await window.look())["rooms"][room]
    assert (told["membership"], told["initial"]) == ("join", True)
    assert "invite_state" not in told


async def test_who_rejects_an_invitation_hears_of_it_once(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room()
    await alice.invite(room, bob)
    window = Window(bob, first(5))
    await window.look()
    await bob.post(f"/v3/rooms/{quote(room)}/leave")
    told = (await window.look())["rooms"][room]
    assert told["membership"] == "leave"
    assert [e["content"]["membership"] for e in told["timeline"]] == ["leave"]
    assert (await window.look())["rooms"] == {}


async def test_who_leaves_is_told_so_and_nothing_after(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    window = Window(bob, first(5))
    await window.look()
    await alice.say(room, "before")
    await bob.post(f"/v3/rooms/{quote(room)}/leave")
    await alice.say(room, "after")
    told = (await window.look())["rooms"][room]
    assert told["membership"] == "leave"
    assert bodies(told) == ["before"]
    assert told["timeline"][-1]["content"]["membership"] == "leave"
    window.subscriptions = {room: {"timeline_limit": 10, "required_state": [["*", "*"]]}}
    assert (await window.look())["rooms"] == {}
    assert (await Window(bob, first(5)).look())["lists"]["all"]["count"] == 0


async def test_who_is_put_out_sees_the_room_as_it_was(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    old = Window(bob, first(5), conn_id="old")
    await old.look()
    await alice.post(f"/v3/rooms/{quote(room)}/kick", {"user_id": bob.user_id})
    await alice.say(room, "after")
    await alice.put(f"/v3/rooms/{quote(room)}/state/m.room.name/", {"name": "Without Bob"})
    subscription = {room: {"timeline_limit": 10, "required_state": [["*", "*"]]}}
    for window in (old, Window(bob, first(5), subscription, conn_id="new"), Window(bob, {}, subscription)):
        told = (await window.look())["rooms"][room]
        assert told["membership"] == "leave"
        assert "after" not in bodies(told)
        assert told.get("name") != "Without Bob"
        assert {"name": "Without Bob"} not in [event["content"] for event in told["required_state"]]
        assert (await window.look())["rooms"] == {}


@pytest.mark.parametrize("act", ["kick", "ban"])
async def test_who_is_put_out_while_waiting_hears_of_it_and_of_nothing_newer(
    alice: Follower, bob: Follower, act: str
) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    subscription = {room: {"timeline_limit": 10, "required_state": [["*", "*"]]}}
    of_room = {"enabled": True, "lists": ["*"], "rooms": [room, "*"]}
    extensions = dict.fromkeys(("account_data", "receipts", "typing"), of_room) | {
        "threads": {"enabled": True, "include_roots": True}
    }
    windows = [Window(bob, first(5), subscription, extensions, conn_id=f"{number}") for number in range(3)]
    for window in windows:
        await window.look()
    told: list[Any] = []

    async def wait(window: Window) -> None:
        told.append((await window.look(60_000))["rooms"][room])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for window in windows:
                nursery.start_soon(wait, window)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await alice.post(f"/v3/rooms/{quote(room)}/{act}", {"user_id": bob.user_id})
    said = await alice.say(room, "after")
    await alice.put(f"/v3/rooms/{quote(room)}/typing/{alice.user_id}", {"typing": True, "timeout": 30_000})
    await alice.post(f"/v3/rooms/{quote(room)}/receipt/m.read/{quote(said)}")
    await alice.say(room, "aside", **{"m.relates_to": {"rel_type": "m.thread", "event_id": said}})
    assert [one["timeline"][-1]["state_key"] for one in told] == [bob.user_id] * 3
    for window in windows:
        answer = await window.look()
        assert answer["rooms"] == {}
        assert not any(answer["extensions"][name].get("rooms") for name in ("account_data", "receipts", "typing"))
        assert "threads" not in answer["extensions"]


async def test_extensions_that_are_not_known_here_are_left_out(alice: Follower) -> None:
    await rooms_of(alice, 1)
    unknown = {"io.element.msc4308.thread_subscriptions": {"enabled": True, "limit": 10}, "org.example": {"enabled": 1}}
    assert (await Window(alice, first(1), extensions=unknown).look())["extensions"] == {}


async def test_who_comes_back_begins_anew(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    window = Window(bob, first(5, limit=20))
    await window.look()
    await bob.post(f"/v3/rooms/{quote(room)}/leave")
    await alice.put(f"/v3/rooms/{quote(room)}/state/m.room.history_visibility/", {"history_visibility": "joined"})
    await alice.say(room, "unseen")
    await bob.join(room)
    told = (await window.look())["rooms"][room]
    assert told["initial"] is True
    assert "unseen" not in bodies(told)


async def test_lists_are_filtered(alice: Follower, bob: Follower) -> None:
    plain, secret, space, tagged, direct = await rooms_of(alice, 3) + [await alice.create_room() for _ in range(2)]
    await alice.put(f"/v3/rooms/{quote(secret)}/state/m.room.encryption/", {"algorithm": "m.megolm.v1.aes-sha2"})
    space = await alice.create_room(creation_content={"type": "m.space"})
    await alice.put(f"/v3/rooms/{quote(space)}/state/m.space.child/{quote(plain)}", {"via": ["hs.test"]})
    await alice.put(f"/v3/user/{quote(alice.user_id)}/rooms/{quote(tagged)}/tags/m.favourite", {"order": 0.5})
    await alice.set_account_data("m.direct", {"@bob:hs.test": [direct]})
    invited = await bob.create_room()
    await bob.invite(invited, alice)

    async def found(**filters: Any) -> set[str]:
        return set((await Window(alice, first(20, **filters)).look())["rooms"])

    everything = await found()
    assert len(everything) == 7
    assert await found(is_encrypted=True) == {secret}
    assert await found(room_types=["m.space"]) == {space}
    assert await found(not_room_types=["m.space"]) == everything - {space}
    assert await found(not_room_types=[None]) == {space}
    assert await found(spaces=[space]) == {plain}
    assert await found(tags=["m.favourite"]) == {tagged}
    assert await found(not_tags=["m.favourite"]) == everything - {tagged}
    assert await found(is_dm=True) == {direct}
    assert await found(is_invite=True) == {invited}
    assert await found(is_invite=False) == everything - {invited}


async def test_a_room_that_becomes_direct_is_told_so(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    window = Window(alice, first(5))
    assert "is_dm" not in (await window.look())["rooms"][room]
    await alice.set_account_data("m.direct", {"@bob:hs.test": [room]})
    assert (await window.look())["rooms"][room]["is_dm"] is True
    await alice.set_account_data("m.direct", {})
    assert (await window.look())["rooms"][room]["is_dm"] is False


async def test_extensions_tell_what_is_asked_for(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await bob.join(room)
    event_id = await alice.say(room, "Hello")
    await alice.set_account_data("org.example", {"a": 1})
    path = f"/v3/user/{quote(alice.user_id)}/rooms/{quote(room)}/tags/m.favourite"
    await alice.put(path, {})
    names = ("account_data", "receipts", "typing", "to_device", "e2ee")
    window = Window(alice, first(5), extensions={name: {"enabled": True} for name in names})
    extensions = (await window.look())["extensions"]
    assert {"m.push_rules", "org.example"} <= {event["type"] for event in extensions["account_data"]["global"]}
    assert extensions["account_data"]["rooms"][room][0]["type"] == "m.tag"
    assert extensions["to_device"]["events"] == []
    assert extensions["e2ee"]["device_one_time_keys_count"] == {}
    await bob.post(f"/v3/rooms/{quote(room)}/receipt/m.read/{quote(event_id)}")
    await bob.put(f"/v3/rooms/{quote(room)}/typing/{bob.user_id}", {"typing": True, "timeout": 30_000})
    answer = await window.look()
    assert answer["rooms"] == {}
    assert bob.user_id in answer["extensions"]["receipts"]["rooms"][room]["content"][event_id]["m.read"]
    assert answer["extensions"]["typing"]["rooms"][room]["content"]["user_ids"] == [bob.user_id]
    await alice.put(path, {"order": 0.1})
    assert (await window.look())["extensions"]["account_data"]["rooms"][room][0]["content"]["tags"]
    again = (await window.look())["extensions"]
    assert again["account_data"] == {"global": [], "rooms": {}}
    assert again["receipts"] == again["typing"] == {"rooms": {}}
    later = Window(alice, first(5), extensions={"receipts": {"enabled": True}}, conn_id="later")
    assert bob.user_id in str((await later.look())["extensions"]["receipts"])


async def test_what_ignored_people_type_and_read_is_out_of_sight(
    alice: Follower, bob: Follower, carol: Follower
) -> None:
    room = await alice.create_room(preset="public_chat")
    for person in (bob, carol):
        await person.join(room)
    event_id = await alice.say(room, "read this")
    await alice.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
    extensions = {name: {"enabled": True} for name in ("receipts", "typing")}
    window = Window(alice, first(1), extensions=extensions)
    await window.look()

    async def act(person: Follower) -> None:
        await person.put(f"/v3/rooms/{quote(room)}/typing/{person.user_id}", {"typing": True, "timeout": 30_000})
        await person.post(f"/v3/rooms/{quote(room)}/receipt/m.read/{event_id}", {})

    await act(bob)
    told = (await window.look())["extensions"]
    assert told["receipts"] == {"rooms": {}}
    assert told["typing"]["rooms"][room]["content"] == {"user_ids": []}
    await act(carol)
    for looking in (window, Window(alice, first(1), extensions=extensions, conn_id="other")):
        told = (await looking.look())["extensions"]
        assert list(told["receipts"]["rooms"][room]["content"][event_id]["m.read"]) == [carol.user_id]
        assert told["typing"]["rooms"][room]["content"] == {"user_ids": [carol.user_id]}


async def test_receipts_in_rooms_out_of_sight_come_when_they_are_looked_at(alice: Follower, bob: Follower) -> None:
    rooms = await rooms_of(alice, 2)
    await bob.join(rooms[0])
    event_id = await alice.say(rooms[0], "Hello")
    await alice.say(rooms[1], "Hello")
    window = Window(alice, first(2), extensions={"receipts": {"enabled": True}})
    await window.look()
    window.lists = first(1)
    await bob.post(f"/v3/rooms/{quote(rooms[0])}/receipt/m.read/{quote(event_id)}")
    assert (await window.look())["extensions"]["receipts"] == {"rooms": {}}
    window.lists = first(2)
    assert set((await window.look())["extensions"]["receipts"]["rooms"]) == {rooms[0]}


async def test_a_connection_goes_on_after_a_restart(database: Database) -> None:
    async with sync_server(database) as server:
        alice = server.person("alice")
        rooms = await rooms_of(alice, 3)
        window = Window(alice, first(2))
        await window.look()
    async with sync_server(database) as server:
        server.take_over(alice)
        await alice.say(rooms[2], "after")
        answer = await window.look()
        assert set(answer["rooms"]) == {rooms[2]}
        assert bodies(answer["rooms"][rooms[2]]) == ["after"]
        assert "initial" not in answer["rooms"][rooms[2]]
        await alice.say(rooms[0], "new in the window")
        assert (await window.look())["rooms"][rooms[0]]["initial"] is True


@pytest.mark.parametrize(
    "pos", ["x", "s1_1", "s1_5~0", "s1_5~ffffffffffffffff", "s1_999999~1f", "s1_-1~1", "~", "s1_1~" + "1" * 99]
)
async def test_a_position_that_was_not_given_out_is_refused(alice: Follower, pos: str) -> None:
    await rooms_of(alice, 1)
    window = Window(alice, first(1), pos=pos)
    assert await alice.refused("POST", SYNC + window.query(30_000), window.body()) == (400, "M_UNKNOWN_POS")


async def test_the_position_of_somebody_else_or_of_another_connection_is_refused(
    alice: Follower, bob: Follower
) -> None:
    await rooms_of(alice, 1)
    window = Window(alice, first(1))
    await window.look()
    for other in (Window(bob, first(1), pos=window.pos), Window(alice, first(1), conn_id="other", pos=window.pos)):
        refusal = await other.person.refused("POST", SYNC + other.query(), other.body())
        assert refusal == (400, "M_UNKNOWN_POS")


@pytest.mark.parametrize(
    "body",
    [
        {"lists": []},
        {"lists": {"a": {"ranges": [[0]]}}},
        {"lists": {"a": {"ranges": [[-1, 5]]}}},
        {"lists": {str(number): {} for number in range(101)}},
        {"lists": {"a": {"timeline_limit": -1}}},
        {"lists": {"a": {"required_state": [["m.room.name"]]}}},
        {"room_subscriptions": {"!a:b": {"timeline_limit": "x"}}},
        {"conn_id": "x" * 300},
        {"extensions": {"typing": {"rooms": "x"}}},
    ],
)
async def test_what_is_no_request_is_refused(alice: Follower, body: dict[str, Any]) -> None:
    assert await alice.refused("POST", SYNC, body) == (400, "M_BAD_JSON")


async def test_rooms_of_others_are_not_told(alice: Follower, bob: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    subscriptions = {room: {"timeline_limit": 10, "required_state": [["*", "*"]]}, "!nowhere": {}}
    answer = await Window(bob, first(10), subscriptions).look()
    assert answer["rooms"] == {}


async def test_a_position_is_a_place_in_the_history(alice: Follower) -> None:
    room = (await rooms_of(alice, 1))[0]
    await alice.say(room, "before")
    window = Window(alice, first(1))
    await window.look()
    await alice.say(room, "after")
    assert window.pos is not None
    assert (await alice.history(room, f"dir=b&limit=1&from={quote(window.pos)}")) == ["before"]


async def test_a_device_has_only_so_many_connections_after_a_restart(database: Database) -> None:
    async with sync_server(database) as server:
        alice = server.person("alice")
        room = (await rooms_of(alice, 1))[0]
        windows = [Window(alice, first(1), conn_id=f"{number}") for number in range(21)]
        for window in windows:
            await window.look()
            for number in range(5):
                window.lists = first(1, limit=number)
                await window.look()
    async with sync_server(database) as server:
        server.take_over(alice)
        await alice.say(room, "Hello")
        for window in windows[1:]:
            assert bodies((await window.look())["rooms"][room]) == ["Hello"]
        refusal = await alice.refused("POST", SYNC + windows[0].query(), windows[0].body())
        assert refusal == (400, "M_UNKNOWN_POS")
