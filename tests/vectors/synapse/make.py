"""Let two Synapse servers live in rooms of every version, and write down what they made of it.

    python -m venv synapse && synapse/bin/pip install matrix-synapse
    synapse/bin/python -m tests.vectors.synapse.make tests/vectors/synapse

Both run on loopback with SQLite in a temporary folder. Between them and their federation ports stands a relay that can
be cut: then both go on alone, and when it is healed each has to resolve the fork. Needs nothing but Synapse itself.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.peers.synapse.settings import set_up, settings_of

Json = dict[str, Any]
_PATIENCE_SECONDS = 90


class Relay:
    """A TCP port in front of another one, that can be cut off."""

    def __init__(self, port: int, behind: int) -> None:
        self.is_cut = False
        self._behind = behind
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.is_cut = True
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        self.is_cut = False

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self.is_cut:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._open -= {source, target}
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Server:
    """A Synapse, by the port that is in its name; the next ones are its federation and its client port."""

    port: int
    folder: Path
    relay: Relay = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    public_keys: dict[str, str] = field(init=False)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "homeserver.db"

    def start(self) -> None:
        self.folder.mkdir()
        certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        openssl = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        )
        subprocess.run(
            [*openssl.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
        settings = settings_of(
            self.name,
            self.folder,
            client_port=self.port + 2,
            federation_port=self.port + 1,
            certificate=certificate,
            key=key,
        )
        settings |= {"presence": {"enabled": False}, "federation_verify_certificates": False}
        command = set_up(Path(sys.executable), self.folder, settings)
        self.relay = Relay(self.port, self.port + 1)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            with contextlib.suppress(OSError):
                request(f"http://127.0.0.1:{self.port + 2}/_matrix/client/versions")
                return True
            return False

        wait_for(is_up)
        keys = request(f"http://127.0.0.1:{self.port + 2}/_matrix/key/v2/server")["verify_keys"]
        self.public_keys = {key_id: key["key"] for key_id, key in keys.items()}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute(sql, values).fetchall()


def request(url: str, method: str = "GET", body: Json | None = None, token: str = "") -> Json:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    call = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # our own servers
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:  # noqa: S310
            result: Json = json.load(answer)
            return result
    except urllib.error.HTTPError as error:
        error.add_note(error.read().decode())
        raise


def wait_for(happened: Any) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not happened():
        if time.monotonic() > until:
            raise TimeoutError(happened)
        time.sleep(0.05)


class User:
    """Somebody with an account, and what they do by the client API."""

    _counter = itertools.count()

    def __init__(self, server: Server, localpart: str) -> None:
        self.server = server
        body = {"username": localpart, "password": "secret", "auth": {"type": "m.login.dummy"}}
        answer = self._call("POST", "register", body)
        self.user_id, self._token = answer["user_id"], answer["access_token"]

    _token = ""

    def _call(self, method: str, path: str, body: Json | None = None, query: str = "") -> Json:
        quoted = "/".join(urllib.parse.quote(part, safe="") for part in path.split(" "))
        url = f"http://127.0.0.1:{self.server.port + 2}/_matrix/client/v3/{quoted}{query}"
        return request(url, method, body, self._token)

    def create(self, room_version: str, creation: Json, **more: Any) -> str:
        body = {"room_version": room_version, "creation_content": creation, "preset": "public_chat", **more}
        return str(self._call("POST", "createRoom", body)["room_id"])

    def join(self, room: str, via: Server | None = None) -> None:
        query = f"?server_name={via.name}&via={via.name}" if via else ""
        self._call("POST", f"join {room}", {}, query)

    def knock(self, room: str, via: Server) -> None:
        self._call("POST", f"knock {room}", {}, f"?server_name={via.name}&via={via.name}")

    def leave(self, room: str) -> None:
        self._call("POST", f"rooms {room} leave", {})

    def does(self, room: str, act: str, target: User) -> None:
        """Invite, kick, ban or unban."""
        self._call("POST", f"rooms {room} {act}", {"user_id": target.user_id})

    def say(self, room: str, text: str = "hello") -> str:
        return self.send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    def send(self, room: str, event_type: str, content: Json) -> str:
        path = f"rooms {room} send {event_type} {next(self._counter)}"
        return str(self._call("PUT", path, content)["event_id"])

    def redact(self, room: str, event_id: str) -> str:
        path = f"rooms {room} redact {event_id} {next(self._counter)}"
        return str(self._call("PUT", path, {"reason": "why not"})["event_id"])

    def set(self, room: str, event_type: str, content: Json, state_key: str = "") -> str:
        path = f"rooms {room} state {event_type} {state_key}"
        return str(self._call("PUT", path, content)["event_id"])

    def get(self, room: str, event_type: str) -> Json:
        return self._call("GET", f"rooms {room} state {event_type} ")

    def level(self, room: str, **levels: Any) -> None:
        """Change power levels; `users` and `events` are merged into those that are there."""
        content = self.get(room, "m.room.power_levels")
        for key, value in levels.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        self.set(room, "m.room.power_levels", content)

    def name_oneself(self, room: str, name: str) -> None:
        self.set(room, "m.room.member", {"membership": "join", "displayname": name}, self.user_id)

    def sees(self, room: str, event_id: str) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            self._call("GET", f"rooms {room} event {event_id}")
            return True
        return False


def patiently(act: Any, *arguments: Any) -> None:
    """Try until the server knows what it needs to know."""

    def succeeds() -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            act(*arguments)
            return True
        return False

    wait_for(succeeds)


def refused(act: Any, *arguments: Any) -> None:
    """Try what the server must not let happen."""
    try:
        act(*arguments)
    except urllib.error.HTTPError:
        return
    raise AssertionError(f"{act} was not refused")


class Story:
    """What happens in one room, told the same for each version as far as it can do it."""

    def __init__(self, near: Server, far: Server, users: dict[str, User], number: int) -> None:
        self.near, self.far, self.number = near, far, number
        self.alice, self.carol, self.dave, self.erin = (users[name] for name in ("alice", "carol", "dave", "erin"))
        self.bob, self.frank, self.grace = (users[name] for name in ("bob", "frank", "grace"))
        creation: Json = {}
        if number >= 12:
            creation["additional_creators"] = [self.dave.user_id]
        self.room = self.alice.create(str(number), creation, name="a room", topic="what happens")

    def tell(self) -> str:
        self._people_come_and_go()
        self._gather()
        if self.number >= 7:
            self._people_knock()
            self._gather()
        if self.number >= 8:
            self._people_of_another_room_come()
            self._gather()
        self.alice.set(self.room, "m.room.join_rules", {"join_rule": "public"})
        self._gather()
        self._fork_over_topics_and_bans()
        self._fork_over_power()
        self._fork_over_the_door()
        self._settle()
        return self.room

    def _people_come_and_go(self) -> None:
        room, alice, bob = self.room, self.alice, self.bob
        for user in (self.carol, self.dave, self.erin):
            user.join(room)
        for user in (bob, self.frank):
            user.join(room, self.near)
        alice.level(room, users={bob.user_id: 100, self.carol.user_id: 50}, invite=10)
        alice.level(room, events={"m.room.topic": 40}, notifications={"room": 20})
        if self.number <= 5:
            alice.send(room, "org.test.number", {"pi": 3.5, "much": 1e30, "more": 2**60})
            alice.set(room, "m.room.aliases", {"aliases": [f"#x:{self.near.name}"]}, self.near.name)
        message = bob.say(room, "mistake ✓ \u007f \u2028 é 🎈")
        self._sync(message)
        alice.redact(room, message)
        alice.redact(room, alice.set(room, "m.room.topic", {"topic": "to be redacted"}))
        self.frank.leave(room)
        patiently(self.carol.does, room, "invite", self.frank)
        patiently(self.frank.join, room, self.near)
        self.carol.does(room, "kick", self.erin)
        self.carol.does(room, "ban", self.erin)
        refused(self.erin.join, room)
        refused(self.carol.does, room, "ban", bob)
        self.carol.does(room, "unban", self.erin)
        self.erin.join(room)
        self._gather()
        bob.name_oneself(room, "Bob")

    def _people_knock(self) -> None:
        room, grace = self.room, self.grace
        self._sync(self.alice.set(room, "m.room.join_rules", {"join_rule": "knock"}))
        refused(grace.join, room, self.near)
        grace.knock(room, self.near)
        patiently(self.alice.does, room, "invite", grace)
        patiently(grace.join, room, self.near)
        grace.leave(room)
        grace.knock(room, self.near)
        grace.leave(room)

    def _people_of_another_room_come(self) -> None:
        room, alice = self.room, self.alice
        space = alice.create(str(self.number), {}, name="a space")
        allow = [{"type": "m.room_membership", "room_id": space}]
        rule = "knock_restricted" if self.number >= 10 else "restricted"
        self._sync(alice.set(room, "m.room.join_rules", {"join_rule": rule, "allow": allow}))
        self.erin.leave(room)
        self._gather()
        refused(self.erin.join, room)
        self.erin.join(space)
        self.erin.join(room)
        self.grace.join(space, self.near)
        patiently(self.grace.join, room, self.near)

    def _fork_over_topics_and_bans(self) -> None:
        with self._cut():
            self.alice.set(self.room, "m.room.topic", {"topic": "near"})
            self.bob.set(self.room, "m.room.topic", {"topic": "far"})
            self.alice.does(self.room, "ban", self.frank)
            self.frank.name_oneself(self.room, "still here")
            self.bob.does(self.room, "ban", self.carol)
            self.carol.set(self.room, "m.room.name", {"name": "by who is banned"})
            self.erin.name_oneself(self.room, "Erin")
            self.bob.say(self.room, "alone")

    def _fork_over_power(self) -> None:
        with self._cut():
            if self.number < 12:
                self.bob.level(self.room, users={self.dave.user_id: 60}, kick=60)
            else:
                self.bob.level(self.room, users={self.erin.user_id: 60}, kick=60)
            self.bob.level(self.room, events={"m.room.name": 80})
            self.bob.set(self.room, "m.room.name", {"name": "far"})
            self.alice.set(self.room, "m.room.name", {"name": "near"})
            if self.number >= 12:
                self.alice.level(self.room, users={self.bob.user_id: 0})
            else:
                self.alice.level(self.room, users={self.erin.user_id: 99})
            self.alice.set(self.room, "m.room.topic", {"topic": "near again"})
            self.bob.set(self.room, "m.room.topic", {"topic": "far again"})

    def _fork_over_the_door(self) -> None:
        with self._cut():
            self.alice.set(self.room, "m.room.join_rules", {"join_rule": "invite"})
            self.alice.does(self.room, "kick", self.erin)
            self.alice.does(self.room, "invite", self.erin)
            self.erin.join(self.room)
            self.bob.say(self.room)
            self.bob.name_oneself(self.room, "Bob by himself")
            self.grace.join(self.room) if self.number >= 8 else self.frank_again()
            self.alice.set(self.room, "org.test.own", {"near": True}, self.alice.user_id)

    def frank_again(self) -> None:
        with contextlib.suppress(urllib.error.HTTPError):
            self.frank.join(self.room)

    def _gather(self) -> None:
        """Let both servers have all that there is."""
        self._sync(self.alice.say(self.room, "all here?"))
        answer = self.bob.say(self.room, "yes")
        wait_for(lambda: self.alice.sees(self.room, answer))

    def _sync(self, event_id: str) -> None:
        wait_for(lambda: self.bob.sees(self.room, event_id))

    @contextlib.contextmanager
    def _cut(self) -> Any:
        for server in (self.near, self.far):
            server.relay.cut()
        yield
        for server in (self.near, self.far):
            server.relay.heal()
        self._settle()

    def _settle(self) -> None:
        """Let both servers know of everything, and build on it."""
        # Whoever has been put out of the room by the other side cannot be asked.
        near, far = self.alice.say(self.room, "near end"), None
        with contextlib.suppress(urllib.error.HTTPError):
            far = self.bob.say(self.room, "far end")
        wait_for(lambda: self.far.query("SELECT 1 FROM events WHERE event_id = ?", near))
        if far:
            wait_for(lambda: self.near.query("SELECT 1 FROM events WHERE event_id = ?", far))
        self.alice.say(self.room, "joined again")


def written_down(server: Server, room: str, number: int) -> Json:
    """Return the events of a room as a server has them, in its order, and the state it has after each."""
    rows = server.query(
        "SELECT event_id, json, internal_metadata, rejections.reason, outlier, state_group FROM events"
        " JOIN event_json USING (event_id) LEFT JOIN rejections USING (event_id)"
        " LEFT JOIN event_to_state_groups USING (event_id)"
        " WHERE events.room_id = ? ORDER BY stream_ordering",
        room,
    )
    order = {event_id: number for number, (event_id, *_) in enumerate(rows)}
    events, before = [], None
    for event_id, text, metadata, rejection, outlier, group in rows:
        pdu = json.loads(text)
        pdu.pop("unsigned", None)
        entry: Json = {"event_id": event_id, "pdu": pdu}
        if rejection:
            entry["rejected"] = rejection
        if json.loads(metadata).get("soft_failed"):
            entry["soft_failed"] = True
        if not outlier and group is not None:
            state = {order[state_id] for state_id in state_of(server, group)}
            # What is new in the state after the event, and what has gone from it, since the event above.
            entry["state"] = [sorted(state - (before or set())), sorted((before or set()) - state)]
            before = state
        events.append(entry)
    return {"room_version": str(number), "room_id": room, "seen_by": server.name, "events": events}


def state_of(server: Server, group: int) -> list[str]:
    """Return the state of one of Synapse's state groups, which are written as differences."""
    groups = [group]
    while found := server.query("SELECT prev_state_group FROM state_group_edges WHERE state_group = ?", groups[-1]):
        groups.append(found[0][0])
    state: dict[tuple[str, str], str] = {}
    for one in reversed(groups):
        for event_type, state_key, event_id in server.query(
            "SELECT type, state_key, event_id FROM state_groups_state WHERE state_group = ?", one
        ):
            state[event_type, state_key] = event_id
    return list(state.values())


def main() -> None:
    folder = Path(sys.argv[1])
    numbers = [int(number) for number in sys.argv[2:]] or list(range(1, 13))
    with tempfile.TemporaryDirectory(prefix="synapse") as temporary:
        servers = [Server(18440, Path(temporary, "near")), Server(18450, Path(temporary, "far"))]
        near, far = servers
        try:
            for server in servers:
                server.start()
            for server in servers:
                server.wait_until_up()
            users = {name: User(near, name) for name in ("alice", "carol", "dave", "erin")}
            users |= {name: User(far, name) for name in ("bob", "frank", "grace")}
            for number in numbers:
                room = Story(near, far, users, number).tell()
                print(f"version {number}: {room}", flush=True)
                made = {
                    "provenance": f"two servers of matrix-synapse {version('matrix-synapse')}, by make.py",
                    "keys": {server.name: server.public_keys for server in servers},
                    "rooms": [written_down(server, room, number) for server in servers],
                }
                text = json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
                (folder / f"v{number}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
