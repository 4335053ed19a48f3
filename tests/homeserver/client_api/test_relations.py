"""Reading what relates to an event."""

from __future__ import annotations

from tests.homeserver.client_api.people import Person


def relation(rel_type: str, event_id: str) -> dict[str, str]:
    return {"rel_type": rel_type, "event_id": event_id}


async def test_relations_are_read_by_kind_and_type(alice: Person) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    edit = await alice.say(room, "edit", **{"m.relates_to": relation("m.replace", root)})
    reply = await alice.say(room, "reply", **{"m.relates_to": relation("m.thread", root)})
    path = f"/v1/rooms/{room}/relations/{root}"

    async def ids(suffix: str) -> list[str]:
        return [event["event_id"] for event in (await alice.get(path + suffix))["chunk"]]

    assert await ids("") == [reply, edit]
    assert await ids("?dir=f") == [edit, reply]
    assert await ids("/m.replace") == [edit]
    assert await ids("/m.thread/m.room.message") == [reply]
    assert await ids("/m.thread/m.sticker") == []


async def test_relations_come_in_pages(alice: Person) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    replies = [await alice.say(room, str(n), **{"m.relates_to": relation("m.thread", root)}) for n in range(5)]
    for direction, expected in (("f", replies), ("b", replies[::-1])):
        path = f"/v1/rooms/{room}/relations/{root}?limit=2&dir={direction}"
        read, page = [], await alice.get(path)
        while True:
            read += [event["event_id"] for event in page["chunk"]]
            if "next_batch" not in page:
                break
            page = await alice.get(f"{path}&from={page['next_batch']}")
        assert read == expected


async def test_relations_of_relations_are_followed_when_asked_for(alice: Person) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    reply = await alice.say(room, "reply", **{"m.relates_to": relation("m.thread", root)})
    edit = await alice.say(room, "edit", **{"m.relates_to": relation("m.replace", reply)})
    page = await alice.get(f"/v1/rooms/{room}/relations/{root}?recurse=true")
    assert [event["event_id"] for event in page["chunk"]] == [edit, reply]
    assert page["recursion_depth"] == 3
    assert "recursion_depth" not in await alice.get(f"/v1/rooms/{room}/relations/{root}")


async def test_what_was_redacted_relates_to_nothing(alice: Person) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    reply = await alice.say(room, "reply", **{"m.relates_to": relation("m.thread", root)})
    await alice.put(f"/v3/rooms/{room}/redact/{reply}/r", {})
    assert (await alice.get(f"/v1/rooms/{room}/relations/{root}"))["chunk"] == []
