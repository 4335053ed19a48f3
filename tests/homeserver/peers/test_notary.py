"""What we tell of other servers' keys when asked as a notary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
    (told,) = (await api.of_server(any_time))["server_keys"]
    assert told["valid_until_ts"] < scene.clock.now
    assert scene.published.asked == [THERE, THERE]
