"""Fetching lists of devices of which something was missed, however long their server is away.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from __future__ import annotations

import structlog
import trio

from tricord.federation.errors import PeerError, PeerRefused, PeerUnreachable
from tricord.federation.health import PeerHealth
from tricord.federation.peers import Peers
from tricord.homeserver.encryption.remote_lists import RemoteLists, WholeList
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.remote_devices import RemoteList
from tricord.protocol.identifiers import ServerName

_LISTS_AT_ONCE = 20
_SERVERS_AT_ONCE = 10
# Another process may have found a gap; and what fails for no good reason is tried again.
_LOOK_EVERY_SECONDS = 60
_STRANGERS_EVERY_LOOKS = 60
_PAUSE_SECONDS = 60.0

_logger = structlog.get_logger(__name__)


class ListFetching:
    """Fetches lists: one server after the other has its turn, and one that is away keeps nobody waiting."""

    def __init__(self, own_name: ServerName, peers: Peers, health: PeerHealth) -> None:
        self._own_name = own_name
        self._peers = peers
        self._health = health
        self._has_work = trio.Event()
        self._under_way: set[ServerName] = set()
        self._limiter = trio.CapacityLimiter(_SERVERS_AT_ONCE)

    def wake(self) -> None:
        """Look now: something was missed."""
        self._has_work.set()

    async def run(self, lists: RemoteLists) -> None:
        """Fetch what has to be fetched, for ever."""
        looks = 0
        async with trio.open_nursery() as nursery:
            while True:
                self._has_work = trio.Event()
                try:
                    if looks % _STRANGERS_EVERY_LOOKS == 0:
                        await lists.forget_strangers(self._own_name)
                    for server in await lists.servers_to_ask():
                        if server not in self._under_way:
                            self._under_way.add(server)
                            nursery.start_soon(self._fetch_from, lists, server)
                except DatabaseError as error:
                    _logger.warning("lists of devices cannot be looked up", reason=str(error))
                with trio.move_on_after(_LOOK_EVERY_SECONDS) as patience:
                    await self._has_work.wait()
                looks += patience.cancelled_caught

    async def _fetch_from(self, lists: RemoteLists, server: ServerName) -> None:
        try:
            while True:
                await self._health.wait_until_callable(server)
                async with self._limiter:
                    stale, position = await lists.stale(server, _LISTS_AT_ONCE)
                    if not stale:
                        break
                    is_well = await self._fetch(lists, server, stale, position)
                if not is_well:
                    await trio.sleep(_PAUSE_SECONDS)
        except DatabaseError as error:
            _logger.warning("a list of devices cannot be kept", destination=server, reason=str(error))
        except Exception:
            _logger.exception("lists of devices cannot be fetched", destination=server)
        else:
            # Whatever went out of date during the last look has found this server under way.
            self.wake()
        finally:
            self._under_way.discard(server)

    async def _fetch(self, lists: RemoteLists, server: ServerName, stale: list[RemoteList], position: int) -> bool:
        """Fetch lists; return False if the server answers, and not as it should."""
        is_well = True
        for one in stale:
            try:
                told = await self._peers.user_devices(server, one.user_id)
            except PeerUnreachable:
                self._health.note_unreachable(server)
                return True
            except PeerRefused as refusal:
                if refusal.status in (403, 404):
                    # There is no such user any more. Whoever asks for their keys asks there.
                    await lists.forget(one.user_id)
                    continue
                is_well = False
            except PeerError as error:
                _logger.info("a list of devices cannot be understood", destination=server, reason=error.message)
                is_well = False
            else:
                devices = [(device.device_id, device.keys, device.device_display_name) for device in told.devices]
                whole = WholeList(told.stream_id, devices, told.master_key, told.self_signing_key)
                await lists.put(one, position, whole)
        return is_well
