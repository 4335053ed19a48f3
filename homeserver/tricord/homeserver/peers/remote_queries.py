"""Questions that only another server can answer: its aliases, its published rooms.

https://spec.matrix.org/v1.19/server-server-api/#querying-for-information
"""

from __future__ import annotations

from tricord.clients.api.directory import DirectoryFilter, PublicRoomsPage
from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.peers import Peers
from tricord.homeserver.rooms.directory import Networks
from tricord.protocol.errors import Forbidden, MatrixError, NotFound, Unknown
from tricord.protocol.identifiers import RoomAlias, RoomId, ServerName, server_name_of

_MOST_SERVERS = 50


class RemoteQueries:
    """Asks other servers."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def resolve(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """Return the room that a remote alias stands for, and servers that are in it."""
        server = server_name_of(alias)
        try:
            found = await self._peers.query_directory(server, alias)
        except PeerRefused as error:
            raise _as_refusal(error) from error
        except PeerError as error:
            raise NotFound(f"room alias {alias} cannot be looked up: {error}") from error
        return found.room_id, [server, *found.servers[:_MOST_SERVERS]]

    async def published_rooms(
        self, server: ServerName, wanted: DirectoryFilter, since: str | None, limit: int, networks: Networks
    ) -> PublicRoomsPage:
        """Return a page of a remote server's directory."""
        search = None if wanted == DirectoryFilter() else wanted
        try:
            page = await self._peers.public_rooms(
                server,
                limit=limit,
                since=since,
                search=search,
                include_all_networks=networks.all_of_them,
                third_party_instance_id=networks.instance_id,
            )
        except PeerRefused as error:
            raise _as_refusal(error) from error
        except PeerError as error:
            raise NotFound(f"the directory of {server} is not to be had: {error}") from error
        return page.model_copy(update={"chunk": page.chunk[:limit]})


def _as_refusal(error: PeerRefused) -> MatrixError:
    """Return what a client is told of another server's refusal to answer."""
    if error.status == 404:
        return NotFound(error.message)
    return (Forbidden if error.status in (400, 401, 403) else Unknown)(error.message)
