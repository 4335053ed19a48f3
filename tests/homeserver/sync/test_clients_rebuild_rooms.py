"""Whatever happens, and however it is followed, a client ends with the room as it is, and has seen everything once.

Hypothesis makes up what happens. `TRICORD_SYNC_EXAMPLES=1000` looks for longer, at other things each time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import trio
import trio.testing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio_websocket import WebSocketConnection, wrap_client_stream, wrap_server_stream

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.replica import MEMBER, Replica, Wishes
from tests.homeserver.sync.server import SyncServer, sync_server
from tests.homeserver.sync.window_replica import WindowReplica
from tests.postgres import PostgresServer
from tricord.homeserver.storage.database import Database, open_database

EXAMPLES = int(os.environ.get("TRICORD_SYNC_EXAMPLES", "0"))
NAMES = ("alice", "bob", "carol")
# Everybody may do nearly everything, so that little of what is made up is refused.
END = "org.example.end"
METHODS = {"pass": "pass_"}
LEVELS = {"users_default": 50, "events": {}, "state_default": 0, "kick": 50, "ban": 50, "invite": 0, "redact": 0}

who = st.sampled_from(NAMES)
guest = st.sampled_from(NAMES[1:])
room = st.integers(0, 1)
client = st.integers(0, 3)
window = st.integers(0, 2)
wishes = st.builds(
    Wishes, limit=st.integers(1, 4), lazily=st.booleans(), state_after=st.booleans(), only_messages=st.booleans()
)
STEPS = st.one_of(
    st.tuples(st.just("say"), who, room, st.integers(1, 5)),
    st.tuples(st.just("set"), who, room, st.sampled_from(("x", "y"))),
    st.tuples(
        st.just("see"), st.just("alice"), room, st.sampled_from(("shared", "invited", "joined", "world_readable"))
    ),
    st.tuples(st.just("join"), guest, room),
    st.tuples(st.just("join"), guest, room),
    st.tuples(st.just("leave"), guest, room),
    st.tuples(st.sampled_from(("invite", "kick", "ban", "unban")), st.just("alice"), room, guest),
    st.tuples(st.just("rename"), who, room),
    st.tuples(st.just("redact"), who, room),
    st.tuples(st.just("pass"), who, room),
    st.tuples(st.just("note"), who),
    st.tuples(st.just("upgrade"), room, st.sampled_from(("11", "12"))),
    st.tuples(st.just("sync"), client),
    st.tuples(st.just("sync"), client),
    st.tuples(st.just("lose an answer"), client),
    st.tuples(st.just("ask for everything"), client),
    st.tuples(st.just("keep"), client),
    st.tuples(st.just("go back"), client),
    st.tuples(st.just("begin anew"), client),
    st.tuples(st.just("wish"), client, st.integers(1, 4), st.booleans()),
    st.tuples(st.just("look"), window),
    st.tuples(st.just("look"), window),
    st.tuples(st.just("lose a look"), window),
    st.tuples(st.just("resize"), window, st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("keep a window"), window),
    st.tuples(st.just("go back to a window"), window),
    st.tuples(st.just("begin a window anew"), window),
    st.just(("cut",)),
    st.just(("forget and connect",)),
    st.tuples(st.just("all at once"), room, st.integers(1, 4)),
    st.just(("restart",)),
)


@dataclass
class World:
    """The people, what they are served by, and the clients they follow with."""

    database: Database
    server: SyncServer
    stack: AsyncExitStack
    people: dict[str, Follower]
    rooms: list[str]
    clients: list[Replica]
    connected: Connected
    windows: list[WindowReplica]
    kept: dict[int, Any] = field(default_factory=dict)
    kept_windows: dict[int, Any] = field(default_factory=dict)
    # Rooms that were replaced.
    old_rooms: list[str] = field(default_factory=list)
    count: int = 0

    async def do(self, name: str, *how: Any) -> None:
        await getattr(self, METHODS.get(name, name.replace(" ", "_")))(*how)

    async def ask(self, name: str, method: str, index: int, path: str, body: dict[str, Any] | None = None) -> None:
        """Ask for something in a room, which may well be refused."""
        status, answer = await self.people[name].call(method, f"/v3/rooms/{quote(self.rooms[index])}{path}", body)
        assert status in (200, 400, 403, 404), answer

    async def say(self, name: str, index: int, times: int) -> None:
        for _ in range(times):
            self.count += 1
            await self.ask(name, "PUT", index, f"/send/m.room.message/t{self.count}", {"body": f"{self.count}"})

    async def set(self, name: str, index: int, key: str) -> None:
        self.count += 1
        await self.ask(name, "PUT", index, f"/state/org.example/{key}", {"n": self.count})

    async def see(self, name: str, index: int, visibility: str) -> None:
        await self.ask(name, "PUT", index, "/state/m.room.history_visibility/", {"history_visibility": visibility})

    async def join(self, name: str, index: int) -> None:
        await self.ask(name, "POST", index, "/join")

    async def leave(self, name: str, index: int) -> None:
        await self.ask(name, "POST", index, "/leave")

    async def invite(self, name: str, index: int, whom: str) -> None:
        await self.ask(name, "POST", index, "/invite", {"user_id": self.people[whom].user_id})

    async def kick(self, name: str, index: int, whom: str) -> None:
        await self.ask(name, "POST", index, "/kick", {"user_id": self.people[whom].user_id})

    async def ban(self, name: str, index: int, whom: str) -> None:
        await self.ask(name, "POST", index, "/ban", {"user_id": self.people[whom].user_id})

    async def unban(self, name: str, index: int, whom: str) -> None:
        await self.ask(name, "POST", index, "/unban", {"user_id": self.people[whom].user_id})

    async def rename(self, name: str, index: int) -> None:
        self.count += 1
        path = f"/state/{MEMBER}/{self.people[name].user_id}"
        status, _ = await self.people[name].call("GET", f"/v3/rooms/{quote(self.rooms[index])}/messages?dir=b&limit=1")
        joined = (await self.people[name].get("/v3/joined_rooms"))["joined_rooms"]
        if status == 200 and self.rooms[index] in joined:
            await self.ask(name, "PUT", index, path, {"membership": "join", "displayname": f"{self.count}"})

    async def redact(self, name: str, index: int) -> None:
        self.count += 1
        status, page = await self.people[name].call(
            "GET", f"/v3/rooms/{quote(self.rooms[index])}/messages?dir=b&limit=3"
        )
        if status == 200 and page["chunk"]:
            await self.ask(name, "PUT", index, f"/redact/{quote(page['chunk'][-1]['event_id'])}/t{self.count}", {})

    async def pass_(self, name: str, index: int) -> None:
        """Do what passes: type, and read."""
        self.count += 1
        user_id = self.people[name].user_id
        await self.ask(name, "PUT", index, f"/typing/{user_id}", {"typing": self.count % 2 == 0, "timeout": 30_000})
        status, page = await self.people[name].call(
            "GET", f"/v3/rooms/{quote(self.rooms[index])}/messages?dir=b&limit=1"
        )
        if status == 200 and page["chunk"]:
            await self.ask(name, "POST", index, f"/receipt/m.read/{quote(page['chunk'][0]['event_id'])}", {})

    async def note(self, name: str) -> None:
        self.count += 1
        await self.people[name].set_account_data("org.example.note", {"n": self.count})

    async def upgrade(self, index: int, version: str) -> None:
        """Replace a room: what happens next happens in the new one."""
        old = self.rooms[index]
        status, answer = await self.people["alice"].call(
            "POST", f"/v3/rooms/{quote(old)}/upgrade", {"new_version": version}
        )
        assert status == 200, answer
        self.old_rooms.append(old)
        self.rooms[index] = answer["replacement_room"]

    async def sync(self, number: int, **options: Any) -> None:
        replica = self.clients[number]
        answer = await self._answer(replica, **options)
        await replica.take(answer, answer["next_batch"])

    async def lose_an_answer(self, number: int) -> None:
        await self._answer(self.clients[number])

    async def ask_for_everything(self, number: int) -> None:
        await self.sync(number, full_state=True)

    async def keep(self, number: int) -> None:
        self.kept[number] = self.clients[number].keep()

    async def go_back(self, number: int) -> None:
        if number in self.kept:
            self.clients[number].go_back(self.kept[number])

    async def begin_anew(self, number: int) -> None:
        self.clients[number].forget()

    async def begin_a_window_anew(self, number: int) -> None:
        self.windows[number].forget()

    async def forget_and_connect(self) -> None:
        await self.connected.stop()
        self.connected.replica.forget()
        await self.connected.start(self.server)

    async def wish(self, number: int, limit: int, state_after: bool) -> None:
        """Sync in another way from now on, in what can be changed on the way."""
        old = self.clients[number].wishes
        self.clients[number].wishes = Wishes(limit, old.lazily, state_after, old.only_messages)

    async def look(self, number: int, wait_ms: int = 0) -> None:
        replica = self.windows[number]
        await replica.take(await replica.ask(wait_ms))

    async def lose_a_look(self, number: int) -> None:
        await self.windows[number].ask()

    async def resize(self, number: int, first: int, limit: int) -> None:
        """Look at more rooms from now on, or at fewer, and at more of each or less."""
        replica = self.windows[number]
        replica.first, replica.wishes = first, Wishes(limit, replica.wishes.lazily)

    async def keep_a_window(self, number: int) -> None:
        self.kept_windows[number] = self.windows[number].keep()

    async def go_back_to_a_window(self, number: int) -> None:
        if number in self.kept_windows:
            self.windows[number].go_back(self.kept_windows[number])

    async def cut(self) -> None:
        await self.connected.cut()

    async def all_at_once(self, index: int, times: int) -> None:
        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(self.say, name, index, times)
            nursery.start_soon(self.set, "alice", index, "x")
            nursery.start_soon(self.join, "bob", index)
            for number in range(len(self.clients)):
                nursery.start_soon(self.sync, number)
            for number in range(len(self.windows)):
                nursery.start_soon(self.look, number)

    async def restart(self) -> None:
        await self.connected.stop()
        await self.stack.aclose()
        self.server = await self.stack.enter_async_context(sync_server(self.database))
        replicas: list[Replica | WindowReplica] = [*self.clients, self.connected.replica, *self.windows]
        for person in (*(replica.person for replica in replicas), *self.people.values()):
            self.server.take_over(person)
        await self.connected.start(self.server)

    async def _answer(self, replica: Replica, **options: Any) -> Any:
        return await replica.person.sync(
            since=replica.since,
            use_state_after=replica.wishes.state_after,
            **replica.wishes.filter(),
            **options,
        )


class Connected:
    """A client that follows by WebSocket, in a task of its own, and connects again when it is cut off."""

    def __init__(self, replica: Replica, nursery: trio.Nursery) -> None:
        self.replica = replica
        self._nursery = nursery
        self._connection = trio.CancelScope()
        self._ended = trio.Event()
        self._server: SyncServer | None = None
        self.taken = trio.Event()

    async def start(self, server: SyncServer) -> None:
        self._server = server
        self._connection, self._ended = trio.CancelScope(), trio.Event()
        self._nursery.start_soon(self._follow, self._connection, self._ended)

    async def stop(self) -> None:
        self._connection.cancel()
        await self._ended.wait()

    async def cut(self) -> None:
        assert self._server is not None
        await self.stop()
        await self.start(self._server)

    async def _follow(self, connection: trio.CancelScope, ended: trio.Event) -> None:
        assert self._server is not None
        replica = self.replica
        session = str(replica.person.requester.session_id)
        sign_in = {
            "type": "sign_in",
            "access_token": session,
            "filter": replica.wishes.filter(),
            "use_state_after": replica.wishes.state_after,
        } | ({} if replica.since is None else {"position": replica.since})
        try:
            with connection:
                async with socket_of(self._server) as socket:
                    await socket.send_message(orjson.dumps(sign_in).decode())
                    while True:
                        message = orjson.loads(await socket.get_message())
                        if message["type"] == "delta":
                            # What is taken in is taken in with its position, whole or not at all.
                            with trio.CancelScope(shield=True):
                                await replica.take(message, message["position"])
                            self.taken.set()
                            self.taken = trio.Event()
                        else:
                            assert message["type"] == "signed_in", message
        finally:
            ended.set()


@asynccontextmanager
async def socket_of(server: SyncServer) -> AsyncIterator[WebSocketConnection]:
    """Connect to a server by WebSocket."""
    near: Any
    far: Any
    near, far = trio.testing.memory_stream_pair()

    async def serve() -> None:
        async with trio.open_nursery() as inner:
            connection = await (await wrap_server_stream(inner, far)).accept()
            await server.websocket.serve(connection, {}, {}, "127.0.0.1")
            inner.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield await wrap_client_stream(nursery, near, "hs.test", "/")
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def world(postgres: PostgresServer, wanted: list[Wishes]) -> AsyncIterator[World]:
    url = await postgres.fresh()
    async with open_database(url) as database, trio.open_nursery() as nursery, AsyncExitStack() as stack:
        server = await stack.enter_async_context(sync_server(database))
        people = {name: server.person(name) for name in NAMES}
        rooms = [
            await people["alice"].create_room(
                preset="public_chat", room_version=version, power_level_content_override=LEVELS
            )
            for version in ("11", "12")
        ]
        # Bob has two devices and two ways of following; each client is on a device of its own.
        clients = [Replica(server.person(name), one) for name, one in zip((*NAMES, "bob"), wanted, strict=False)]
        connected = Connected(Replica(server.person("bob"), wanted[-1]), nursery)
        await connected.start(server)
        windows = [
            WindowReplica(server.person(name), Wishes(one.limit, one.lazily))
            for name, one in zip(NAMES, wanted, strict=False)
        ]
        yield World(database, server, stack, people, rooms, clients, connected, windows)
        await connected.stop()
        nursery.cancel_scope.cancel()
    await postgres.drop(url)


async def settle(world: World) -> None:
    """Let every client hear the last of it: what is said at the end reaches it after all the rest."""
    for name in NAMES:
        await world.people[name].set_account_data(END, {})
    with trio.fail_after(60):
        for number, replica in enumerate(world.clients):
            while END not in replica.account_data:
                await world.sync(number, wait=1)
        for number, looking in enumerate(world.windows):
            looking.first = 99
            while END not in looking.account_data:
                await world.look(number, wait_ms=1_000)
            await world.look(number)
        while END not in world.connected.replica.account_data:
            await world.connected.taken.wait()


async def own_memberships(world: World, room_id: str, person: Follower) -> set[str]:
    """Return the events that said what somebody is to a room."""
    page = await world.people["alice"].get(f"/v3/rooms/{quote(room_id)}/messages?dir=f&limit=1000")
    return {event["event_id"] for event in page["chunk"] if event.get("state_key") == person.user_id}


async def check(world: World, replica: Replica | WindowReplica) -> None:
    """Compare what a client knows with what the server answers when asked outright."""
    person = replica.person
    joined = set((await person.get("/v3/joined_rooms"))["joined_rooms"])
    assert {room_id for room_id, known in replica.rooms.items() if known.membership == "join"} == joined
    for room_id in (*world.rooms, *world.old_rooms):
        known = replica.rooms.get(room_id)
        member = await world.people["alice"].call("GET", f"/v3/rooms/{quote(room_id)}/state/{MEMBER}/{person.user_id}")
        invited = member[0] == 200 and member[1]["membership"] == "invite"
        assert invited == (known is not None and known.membership == "invite")
        if known is None:
            continue
        status, page = await person.call(
            "GET",
            f"/v3/rooms/{quote(room_id)}/messages?dir=f&limit=1000&filter="
            + quote(orjson.dumps(replica.wishes.timeline())),
        )
        visible = [event["event_id"] for event in page["chunk"]] if status == 200 else []
        if known.membership != "join":
            # Who never was inside has no history, and still learns what became of them.
            assert set(known.seen) <= {*visible, *await own_memberships(world, room_id, person)}
            continue
        assert sorted(known.seen) == sorted(visible)
        state = {(e["type"], e["state_key"]): e for e in await person.get(f"/v3/rooms/{quote(room_id)}/state")}
        current = {key: event["event_id"] for key, event in state.items()}
        # Whoever loads members lazily lacks some, but knows nothing outdated.
        lacking = {
            key for key in current.keys() - known.state.keys() if not (replica.wishes.lazily and key[0] == MEMBER)
        }
        outdated = {key for key, event_id in known.state.items() if current.get(key) != event_id}
        assert (lacking, outdated) == (set(), set()), (person.user_id, replica.wishes, room_id)


@settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(wishes, min_size=5, max_size=5), st.lists(STEPS, min_size=5, max_size=40))
async def test_whatever_happens_clients_end_with_the_room_as_it_is(
    postgres: PostgresServer, wanted: list[Wishes], steps: list[tuple[Any, ...]]
) -> None:
    try:
        async with world(postgres, wanted) as here:
            for step in steps:
                await here.do(*step)
            await settle(here)
            replicas: list[Replica | WindowReplica] = [*here.clients, here.connected.replica, *here.windows]
            for replica in replicas:
                await check(here, replica)
    except BaseException:
        # Hypothesis does not tell it through groups of exceptions.
        print("what happened:", wanted, steps)
        raise
