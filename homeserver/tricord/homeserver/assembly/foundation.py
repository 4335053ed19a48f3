"""What every department stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.serving.dispatch import Observer
from tricord.homeserver.serving.shares import Share
from tricord.homeserver.settings import Settings
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.common_memory import CommonMemory
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.siblings import Siblings
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import SigningKey
from tricord.protocol.verify import ServerKey

Run = Callable[[], Awaitable[None]]
"""The life of a part that lives as long as the server."""

LetGo = Callable[[], None]
"""How a part forgets what nobody has asked it for lately; called every minute."""


@dataclass(frozen=True, slots=True)
class Common:
    """What the processes of a homeserver on one machine share, as one of them has it."""

    memory: CommonMemory
    siblings: Siblings

    @property
    def share(self) -> Share:
        """Return the share of the connections to sockets that they have in common."""
        return Share(self.memory.connections, lambda: self.siblings.reached)


@dataclass(frozen=True, slots=True)
class Foundation:
    """The settings, the database, what wakes those who wait, the server's key and its clock."""

    settings: Settings
    database: Database
    publisher: Publisher
    key: SigningKey
    retired_keys: Mapping[KeyId, ServerKey]
    """Those that the server signed with before."""
    clock: Clock
    policy_key: SigningKey | None = None
    """By which this server recommends events, where it is a policy server."""
    common: Common | None = None
    """What there is where several processes on this machine are the homeserver."""
    observe: Observer | None = None
    """Told of each request that was answered, where somebody wants to know."""

    @property
    def server_name(self) -> ServerName:
        """Return the name that this server has for others."""
        return ServerName(self.settings.server_name)

    @property
    def signer(self) -> Signer:
        """Return what signs this server's events."""
        return Signer(self.server_name, self.key, self.clock)
