"""What is left of connections that have ended."""

from __future__ import annotations

import gc
from collections import Counter

from tests.homeserver.serving.house import House, opened, request, settled, wire


async def test_a_connection_that_has_ended_is_freed_at_once(house: House) -> None:
    async with opened(house) as address:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                async with wire(address) as client:
                    await client.ask(request("GET", "/address"))
            await settled()
            gc.collect()
            of_ours = Counter(
                type(found).__name__ for found in gc.garbage if type(found).__module__.startswith("tricord")
            )
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not of_ours
