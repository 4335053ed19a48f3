"""A homeserver in memory, for the tests of bots and apps.

    async with testing.homeserver() as homeserver, homeserver.running(bot):
        alice = await homeserver.user("alice")
        room_id = await alice.room_with(bot.user_id)
        await alice.send_text(room_id, "!echo Hello")
        assert (await alice.hears(room_id)).text == "Hello"

It keeps the rules of Matrix (`tricord.protocol`), and is held to the same tests as the real homeserver. On trio's fake
clock, tests that wait take no time.
"""

from tricord.clients.testing.in_memory import PASSWORD, Homeserver, homeserver, running
from tricord.clients.testing.person import Person

__all__ = ["PASSWORD", "Homeserver", "Person", "homeserver", "running"]
