"""What devices ask of a server for end-to-end encryption: keys of others, keys to begin sessions, messages."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping

import trio

from bench import accounts
from bench.accounts import User
from bench.figures import milliseconds, percentile
from bench.scenario import Bench
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64

_USERS = 1_000
_ROUNDS = 20
_KEYS_EACH = 3
_SENDERS = 8
_AT_ONCE = 16
_RECIPIENTS = 100
_ALGORITHM = "signed_curve25519"


async def keys(bench: Bench) -> None:
    """Measure queries for the keys of 1 and of 1,000 users, and claims of 1 and of 1,000 keys."""
    users = await accounts.guests(bench.base_url, bench.size(_USERS))
    devices: dict[str, str] = {}
    started = time.perf_counter()

    async def upload(some: list[User]) -> None:
        for user in some:
            devices[user.user_id] = await _upload(bench, user)

    async with trio.open_nursery() as nursery:
        for number in range(_SENDERS):
            nursery.start_soon(upload, users[number::_SENDERS])
    rate = len(users) / (time.perf_counter() - started)
    bench.figures.add(f"keys/upload, {_KEYS_EACH} one-time keys", f"{rate:.0f}/s", per_second=rate)
    everybody = list(devices)
    for count, names in (("1 user", everybody[:1]), (f"{_USERS:,} users", everybody)):
        wanted: dict[str, list[str]] = {name: [] for name in names}
        await _time(bench, f"keys/query, {count}", "keys/query", [{"device_keys": wanted}] * _ROUNDS)
    # Not more than there are: what is claimed then is a fallback key, and costs less.
    claims: list[dict[str, object]] = [{"one_time_keys": {name: {devices[name]: _ALGORITHM}}} for name in everybody]
    alone = min(_ROUNDS, len(claims) // 2)
    await _time(bench, "keys/claim, 1 key", "keys/claim", claims[:alone])
    del claims[:alone]
    whole = {"one_time_keys": {name: {devices[name]: _ALGORITHM} for name in everybody}}
    await _time(bench, f"keys/claim, {_USERS:,} keys", "keys/claim", [whole])
    queries = [_query_of(name) for name in everybody] * _ROUNDS
    await _rate(bench, f"keys/query, 1 user, {_AT_ONCE} at once", "keys/query", queries)
    left = claims * (_KEYS_EACH - 1)
    await _rate(bench, f"keys/claim, 1 key, {_AT_ONCE} at once", "keys/claim", left)


async def to_device(bench: Bench) -> None:
    """Measure messages to 1 and to 100 devices, from 8 at once."""
    recipients = bench.users[:_RECIPIENTS]
    for some in (recipients[:1], recipients):
        content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": "x" * 600}
        body = {"messages": {user.user_id: {"*": content} for user in some}}
        sent = 0
        end = time.perf_counter() + bench.seconds

        async def send(user: User, body: object = body, end: float = end) -> None:
            nonlocal sent
            async with bench.connection(user) as connection:
                while time.perf_counter() < end:
                    path = f"/_matrix/client/v3/sendToDevice/m.room.encrypted/{secrets.token_hex(8)}"
                    await connection.call_raw("PUT", path, body)
                    sent += 1

        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for user in bench.users[-_SENDERS:]:
                nursery.start_soon(send, user)
        rate = sent / (time.perf_counter() - started)
        text = f"{rate:.0f} requests/s, {rate * len(some):.0f} messages/s"
        bench.figures.add(f"sendToDevice to {len(some)} devices, 8 at once", text, per_second=rate)


async def _upload(bench: Bench, user: User) -> str:
    async with bench.connection(user) as connection:
        device_id: str = (await connection.call("GET", "/_matrix/client/v3/account/whoami"))["device_id"]
        generated = SigningKey.generate()
        key = SigningKey(KeyId(f"ed25519:{device_id}"), generated._seed)  # noqa: SLF001 - under another name
        public = {
            "user_id": user.user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {f"ed25519:{device_id}": encode_base64(key.public_key), f"curve25519:{device_id}": _key()},
        }
        owner = ServerName(user.user_id)
        body = {
            "device_keys": sign_json(public, owner, key),
            "one_time_keys": {
                f"{_ALGORITHM}:K{number}": sign_json({"key": _key()}, owner, key) for number in range(_KEYS_EACH)
            },
        }
        await connection.call("POST", "/_matrix/client/v3/keys/upload", body)
        return device_id


def _key() -> str:
    return encode_base64(secrets.token_bytes(32))


def _query_of(name: str) -> dict[str, object]:
    of_all: list[str] = []
    return {"device_keys": {name: of_all}}


async def _rate(bench: Bench, name: str, endpoint: str, bodies: list[dict[str, object]]) -> None:
    """Measure how many requests a second are answered, each with a body of its own."""
    waiting = iter(bodies)
    sent = 0

    async def send(user: User) -> None:
        nonlocal sent
        async with bench.connection(user) as connection:
            for body in waiting:
                await connection.call_raw("POST", f"/_matrix/client/v3/{endpoint}", body)
                sent += 1

    started = time.perf_counter()
    with trio.move_on_after(bench.seconds):
        async with trio.open_nursery() as nursery:
            for user in bench.users[:_AT_ONCE]:
                nursery.start_soon(send, user)
    rate = sent / (time.perf_counter() - started)
    bench.figures.add(name, f"{rate:.0f}/s", per_second=rate)


async def _time(bench: Bench, name: str, endpoint: str, bodies: Iterable[Mapping[str, object]]) -> None:
    """Measure how long requests take, one after the other."""
    times = []
    async with bench.connection(bench.users[0]) as connection:
        for body in bodies:
            started = time.perf_counter()
            size = len(await connection.call_raw("POST", f"/_matrix/client/v3/{endpoint}", body))
            times.append(time.perf_counter() - started)
    bench.figures.add(name, f"{milliseconds(times)}, {size / 1e3:.0f} kB", p50_ms=percentile(times, 0.5) * 1e3)
