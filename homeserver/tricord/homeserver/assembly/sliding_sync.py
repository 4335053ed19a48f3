"""Sliding sync, put together when the first client asks for it: most clients of a server sync in the same way."""

from __future__ import annotations

from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.assembly.encryption import Encryption
from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.push import Push
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.sliding_sync import SlidingSyncApi
from tricord.homeserver.serving.call import Route
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.room_reads import UnreadableRooms
from tricord.homeserver.sync.sections.account_data import AccountDataSection
from tricord.homeserver.sync.sections.devices import DevicesSection
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.sliding.activity import RoomActivity
from tricord.homeserver.sync.sliding.connections import Connections
from tricord.homeserver.sync.sliding.devices import SlidingDevices
from tricord.homeserver.sync.sliding.engine import SlidingEngine
from tricord.homeserver.sync.sliding.extensions import ExtensionReader
from tricord.homeserver.sync.sliding.lists import RoomLists
from tricord.homeserver.sync.sliding.own_rooms import RoomsOfUsers
from tricord.homeserver.sync.sliding.rooms import RoomReader
from tricord.homeserver.sync.sliding.told_members import ToldMembers
from tricord.homeserver.sync.windows import Windows


def sliding_routes(
    base: Foundation,
    rooms: Rooms,
    push: Push,
    encryption: Encryption,
    presences: Presences,
    *,
    engine: SyncEngine,
    windows: Windows,
    account_data: AccountDataSection,
    invites: InviteSection,
    summaries: SummarySection,
    devices: DevicesSection,
    unreadable: UnreadableRooms,
) -> list[Route]:
    """Return what clients are answered who look at some of their rooms; the parts below are those of `/sync`."""
    activity = RoomActivity(base.database, base.publisher)
    own_rooms = RoomsOfUsers(
        base.database, base.publisher, rooms.changes, rooms.memberships, rooms.timeline, rooms.state, invites
    )
    sliding = SlidingEngine(
        engine,
        base.publisher,
        rooms.changes,
        rooms.memberships,
        rooms.partial,
        windows,
        account_data,
        rooms.preferences,
        Connections(base.database),
        own_rooms,
        RoomLists(activity, rooms.state),
        RoomReader(
            rooms.timeline,
            rooms.state,
            rooms.visibility,
            windows,
            summaries,
            push.counts,
            activity,
            ToldMembers(),
            rooms.aggregations,
            rooms.unanswered,
            base.clock,
        ),
        unreadable,
        ExtensionReader(
            base.database,
            windows,
            account_data,
            SlidingDevices(encryption.inboxes, devices),
            rooms.thread_updates,
        ),
    )
    return SlidingSyncApi(sliding, presences).routes()
