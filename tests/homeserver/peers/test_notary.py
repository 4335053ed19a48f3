"""What we tell of other servers' keys when asked as a notary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

from tests.federation.servers import HERE, THERE
from tests.federation.test_keys import Scene
from tricord.federation.api.keys import KeyCriteria
from tricord.homeserver.federation_api.keys import KeysApi


async def test_whoever_does_not_say_until_when_gets_keys_that_are_valid_now() -> None:
    scene = Scene()
    scene.publish(valid_for_ms=1000)
    api = KeysApi(scene.ring(), HERE, scene.clock)
    one: Any = SimpleNamespace(path={"server_name": THERE}, query=SimpleNamespace(minimum_valid_until_ts=None))
    many: Any = SimpleNamespace(body=SimpleNamespace(server_keys={THERE: {scene.key.key_id: KeyCriteria()}}))
    any_time: Any = SimpleNamespace(path={"server_name": THERE}, query=SimpleNamespace(minimum_valid_until_ts=0))
    for ask in (api.of_server(one), api.of_servers(many)):
        scene.publish(valid_for_ms=1000)
        (told,) = (await ask)["server_keys"]
        assert told["valid_until_ts"] == scene.clock.now + 1000
        scene.clock.now += 2000
    # The server is asked, though it has nothing newer; and not again at once.
    for _ in range(2):
        (told,) = (await api.of_server(any_time))["server_keys"]
        assert told["valid_until_ts"] < scene.clock.now
    assert scene.published.asked == [THERE] * 3


async def test_keys_are_asked_for_again_when_half_of_their_time_is_over() -> None:
    scene = Scene()
    ring = scene.ring()
    api = KeysApi(ring, HERE, scene.clock)
    wanted: Any = SimpleNamespace(path={"server_name": THERE}, query=SimpleNamespace(minimum_valid_until_ts=None))
    scene.publish(valid_for_ms=1000)
    await api.of_server(wanted)
    scene.clock.now += 400
    await api.of_server(wanted)
    assert scene.published.asked == [THERE]
    scene.clock.now += 200
    scene.publish(valid_for_ms=1000)
    (told,) = (await api.of_server(wanted))["server_keys"]
    assert told["valid_until_ts"] == scene.clock.now + 1000
    assert scene.published.asked == [THERE, THERE]
    # A server that is gone is not asked each time, and what it said last goes on being told.
    del scene.published.of_servers[THERE]
    scene.clock.now += 600
    for _ in range(3):
        assert (await api.of_server(wanted))["server_keys"] == [told | {"signatures": ANY}]
    assert scene.published.asked == [THERE] * 3
    # Whoever verifies a signature goes on with keys that are valid.
    await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)
    assert scene.published.asked == [THERE] * 3


async def test_keys_are_asked_for_that_are_valid_for_as_long_as_is_wanted() -> None:
    scene = Scene()
    api = KeysApi(scene.ring(), HERE, scene.clock)
    scene.publish(valid_for_ms=100_000)
    for number, later in enumerate((0, 90_000, 200_000), 1):
        until = scene.clock.now + later
        wanted: Any = SimpleNamespace(path={"server_name": THERE}, query=SimpleNamespace(minimum_valid_until_ts=until))
        if number == 3:
            scene.publish(valid_for_ms=300_000)
        (told,) = (await api.of_server(wanted))["server_keys"]
        assert told["valid_until_ts"] >= until
    assert scene.published.asked == [THERE, THERE]
