"""Whatever happens, the counts that a client was told last are those that a server counts that has just started."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.server import sync_server
from tests.postgres import PostgresServer
from tricord.homeserver.push import counts
from tricord.homeserver.storage.database import Database, open_database

who = st.sampled_from(("alice", "bob"))
which = st.integers(0, 30)
STEPS = st.one_of(
    st.tuples(st.just("say"), who),
    st.tuples(st.just("mention"), st.just("alice")),
    st.tuples(st.just("answer"), who, which),
    st.tuples(st.just("react"), who, which),
    st.tuples(st.just("edit"), who, which),
    st.tuples(st.just("redact"), st.just("alice"), which),
    st.tuples(st.just("read"), st.just("bob"), which, st.sampled_from((None, "main", "its own"))),
    st.tuples(st.just("quiet"), st.just("bob")),
    st.tuples(st.just("sync"), st.just("bob")),
)


class Talk:
    """A room where two people talk, and what one of them was told of what they have not read."""

    def __init__(self, people: dict[str, Follower], room: str) -> None:
        self.people = people
        self.room = room
        self.said: list[str] = []
        # By event, the thread that it was said in.
        self.threads: dict[str, str] = {}
        self.told: dict[str, Any] = {}
        self.count = 0

    async def do(self, name: str, person: str, *how: Any) -> None:
        await getattr(self, name)(self.people[person], *how)

    async def send(self, person: Follower, body: str, **content: Any) -> str:
        self.count += 1
        event_id = await person.say(self.room, f"{body} {self.count}", **content)
        self.said.append(event_id)
        return event_id

    async def say(self, person: Follower) -> None:
        await self.send(person, "hello")

    async def mention(self, person: Follower) -> None:
        await self.send(person, "you there", **{"m.mentions": {"user_ids": [self.people["bob"].user_id]}})

    async def answer(self, person: Follower, number: int) -> None:
        roots = [event_id for event_id in self.said if event_id not in self.threads]
        if roots:
            root = roots[number % len(roots)]
            relation = {"rel_type": "m.thread", "event_id": root}
            self.threads[await self.send(person, "answer", **{"m.relates_to": relation})] = root

    async def react(self, person: Follower, number: int) -> None:
        self.count += 1
        if self.said:
            relation = {"rel_type": "m.annotation", "event_id": self.said[number % len(self.said)], "key": "x"}
            await person.call("PUT", f"/v3/rooms/{self.room}/send/m.reaction/r{self.count}", {"m.relates_to": relation})

    async def edit(self, person: Follower, number: int) -> None:
        if self.said:
            relation = {"rel_type": "m.replace", "event_id": self.said[number % len(self.said)]}
            new = {"m.new_content": {"msgtype": "m.text", "body": "better"}, "m.relates_to": relation}
            body = {"msgtype": "m.text", "body": "* better", **new}
            self.count += 1
            await person.call("PUT", f"/v3/rooms/{self.room}/send/m.room.message/e{self.count}", body)

    async def redact(self, person: Follower, number: int) -> None:
        if self.said:
            self.count += 1
            event_id = self.said.pop(number % len(self.said))
            await person.call("PUT", f"/v3/rooms/{self.room}/redact/{event_id}/x{self.count}", {})

    async def read(self, person: Follower, number: int, thread: str | None) -> None:
        if self.said:
            event_id = self.said[number % len(self.said)]
            body = {}
            if thread is not None:
                body["thread_id"] = "main" if thread == "main" else self.threads.get(event_id, "main")
            await person.call("POST", f"/v3/rooms/{self.room}/receipt/m.read/{event_id}", body)

    async def quiet(self, person: Follower) -> None:
        rule = {"conditions": [{"kind": "event_match", "key": "content.body", "pattern": "hello*"}], "actions": []}
        await person.call("PUT", "/v3/pushrules/global/override/quiet", rule)

    async def sync(self, person: Follower) -> None:
        self.take(await person.news(room={"timeline": {"unread_thread_notifications": True}}))

    def take(self, answer: Any) -> None:
        told = answer.get("rooms", {}).get("join", {}).get(self.room, {})
        if "unread_notifications" in told:
            self.told = counts_in(told)


def counts_in(told: Any) -> dict[str, Any]:
    return {"main": told["unread_notifications"], **told["unread_thread_notifications"]}


@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(STEPS, min_size=5, max_size=40))
async def test_counts_never_drift_from_what_they_stand_for(
    postgres: PostgresServer, steps: list[tuple[Any, ...]]
) -> None:
    url = await postgres.fresh()
    try:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(url))
            server = await stack.enter_async_context(sync_server(database))
            people = {name: server.person(name) for name in ("alice", "bob")}
            talk = Talk(people, await people["alice"].create_room(preset="public_chat"))
            await people["bob"].join(talk.room)
            for step in steps:
                await talk.do(*step)
            # A change of the rules is told with the next event.
            await talk.say(people["alice"])
            await talk.sync(people["bob"])
            fresh = await stack.enter_async_context(sync_server(database))
            answer = await fresh.person("bob").sync(room={"timeline": {"unread_thread_notifications": True}})
            assert talk.told == counts_in(answer["rooms"]["join"][talk.room])
    except BaseException:
        print("what happened:", steps)
        raise
    await postgres.drop(url)


async def test_of_what_waits_only_the_newest_is_counted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_MOST_COUNTED", 3)
    async with sync_server(database) as server:
        people = {name: server.person(name) for name in ("alice", "bob")}
        talk = Talk(people, await people["alice"].create_room(preset="public_chat"))
        await people["bob"].join(talk.room)
        await talk.sync(people["bob"])
        told = []
        for how in ("mention", "say", "say", "say", "mention"):
            await talk.do(how, "alice")
            await talk.sync(people["bob"])
            told.append((talk.told["main"]["notification_count"], talk.told["main"]["highlight_count"]))
        assert told == [(1, 1), (2, 1), (3, 1), (3, 0), (3, 1)]


async def test_what_ignored_people_say_does_not_wait_to_be_read(database: Database) -> None:
    async with sync_server(database) as server:
        alice, bob, carol = (server.person(name) for name in ("alice", "bob", "carol"))
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        await carol.join(room)

        async def unread() -> int:
            told = (await bob.sync())["rooms"]["join"][room]
            return int(told["unread_notifications"]["notification_count"])

        await alice.say(room, "one")
        await carol.say(room, "two")
        assert await unread() == 2
        await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
        assert await unread() == 1
        await alice.say(room, "three")
        await carol.say(room, "four")
        assert await unread() == 2
        await bob.set_account_data("m.ignored_user_list", {"ignored_users": {}})
        assert await unread() == 4


async def test_rules_of_old_find_the_name_that_somebody_has_in_the_room(database: Database) -> None:
    async with sync_server(database) as server:
        alice, bob = server.person("alice"), server.person("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        named = {"membership": "join", "displayname": "Bob Tables"}
        await bob.call("PUT", f"/v3/rooms/{room}/state/m.room.member/{bob.user_id}", named)
        rule = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify", {"set_tweak": "highlight"}]}
        await bob.call("PUT", "/v3/pushrules/global/override/name", rule)
        await alice.say(room, "bobtables is nobody")
        await alice.say(room, "has anybody seen bob tables?")
        told = (await bob.sync())["rooms"]["join"][room]["unread_notifications"]
        assert told == {"notification_count": 2, "highlight_count": 1}
        await alice.say(room, "Bob Tables!")
        told = (await bob.news())["rooms"]["join"][room]["unread_notifications"]
        assert told == {"notification_count": 3, "highlight_count": 2}
