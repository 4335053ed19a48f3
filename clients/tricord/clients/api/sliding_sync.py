"""Simplified sliding sync: what is new in a window of a user's rooms, as one long poll.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186

Clients and servers speak two dialects of it: the one of the first servers (`ranges`, pairs for `required_state`, the
position in the query), and the one of today's text (`range`, objects, all in the body). Both are understood.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from tricord.clients.endpoint import Authentication, Endpoint, Model

MOST_LISTS = 100
MOST_SUBSCRIPTIONS = 1_000
MOST_WANTED_STATE = 1_000

Name = Annotated[str, StringConstraints(max_length=255)]
Index = Annotated[int, Field(ge=0, le=1 << 53)]
StatePair = Annotated[list[Name], Field(min_length=2, max_length=2)]
Range = Annotated[list[Index], Field(min_length=2, max_length=2)]
Presence = Literal["online", "offline", "unavailable"]


class StateElement(Model):
    """Pieces of state; what is absent stands for any."""

    type: Name | None = None
    state_key: Name | None = None


class StateRequest(Model):
    """The state that a client wants of a room."""

    include: list[StateElement] = Field(default_factory=list, max_length=MOST_WANTED_STATE)
    exclude: list[StateElement] = Field(default_factory=list, max_length=MOST_WANTED_STATE)
    lazy_members: bool = False


class RoomConfig(Model):
    """How much a client wants to be told of a room."""

    timeline_limit: Index = 0
    required_state: Annotated[list[StatePair], Field(max_length=MOST_WANTED_STATE)] | StateRequest = Field(
        default_factory=StateRequest
    )


class RoomFilters(Model):
    """Which of the user's rooms are in a list; what is absent lets all through."""

    is_dm: bool | None = None
    spaces: list[Name] | None = Field(None, max_length=MOST_SUBSCRIPTIONS)
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    is_invited: bool | None = None
    room_types: list[Name | None] | None = Field(None, max_length=MOST_LISTS)
    not_room_types: list[Name | None] | None = Field(None, max_length=MOST_LISTS)
    tags: list[Name] | None = Field(None, max_length=MOST_LISTS)
    not_tags: list[Name] | None = Field(None, max_length=MOST_LISTS)


class RoomList(RoomConfig):
    """A list of rooms, the most active first, and the windows of it that a client looks at."""

    ranges: list[Range] | None = Field(None, max_length=MOST_LISTS)
    range: Range | None = None
    filters: RoomFilters = Field(default_factory=RoomFilters)


class Extension(Model):
    """Something beside rooms that a client wants."""

    enabled: bool = False


class RoomExtension(Extension):
    """Something of rooms: of those in some lists, and of some that are subscribed to. Absent, or `*`: of all."""

    lists: list[Name] | None = Field(None, max_length=MOST_LISTS)
    rooms: list[Name] | None = Field(None, max_length=MOST_SUBSCRIPTIONS)


class ToDeviceExtension(Extension):
    """Messages to the device."""

    limit: Index = 100
    since: Name | None = None


class ThreadsExtension(Extension):
    """In which threads something is new that the timelines do not tell; with `include_roots`, in which at all.

    https://github.com/matrix-org/matrix-spec-proposals/pull/4360
    """

    include_roots: bool = False
    limit: Index = 100


class Extensions(Model):
    """What a client wants beside rooms."""

    to_device: ToDeviceExtension = Field(default_factory=ToDeviceExtension)
    e2ee: Extension = Field(default_factory=Extension)
    account_data: RoomExtension = Field(default_factory=RoomExtension)
    receipts: RoomExtension = Field(default_factory=RoomExtension)
    typing: RoomExtension = Field(default_factory=RoomExtension)
    threads: ThreadsExtension = Field(default_factory=ThreadsExtension)
    unstable_threads: ThreadsExtension = Field(default_factory=ThreadsExtension, alias="io.element.msc4360.threads")


class ListAnswer(Model):
    """How many rooms are in a list."""

    count: int


class Hero(Model):
    """Somebody by whom a room without a name can be called."""

    user_id: str
    displayname: str | None = None
    avatar_url: str | None = None


class RoomAnswer(Model):
    """What is new of a room; if it is `initial`, all there is."""

    initial: bool = False
    membership: str | None = None
    lists: list[str] = Field(default_factory=list)
    bump_stamp: int | None = None
    name: str | None = None
    avatar: str | None = None
    heroes: list[Hero] | None = None
    is_dm: bool | None = None
    required_state: list[dict[str, Any]] = Field(default_factory=list)
    timeline: list[dict[str, Any]] = Field(default_factory=list)
    unstable_expanded_timeline: bool = False
    prev_batch: str | None = None
    limited: bool = False
    num_live: int | None = None
    joined_count: int | None = None
    invited_count: int | None = None
    notification_count: int | None = None
    highlight_count: int | None = None
    invite_state: list[dict[str, Any]] | None = None
    stripped_state: list[dict[str, Any]] | None = None


class SlidingSync(Endpoint):
    """Wait until something is new in the rooms a client looks at, and return it."""

    method = "POST"
    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    authentication = Authentication.GUEST
    hot = True
    cancel_on_disconnect = True

    class Query(Model):
        """From where, and how long to wait."""

        pos: str | None = None
        timeout: int | None = Field(None, ge=0)
        set_presence: Presence | None = None

    class Body(Model):
        """What the client looks at."""

        conn_id: Name = ""
        pos: str | None = None
        timeout: int | None = Field(None, ge=0)
        set_presence: Presence | None = None
        lists: dict[Name, RoomList] = Field(default_factory=dict, max_length=MOST_LISTS)
        room_subscriptions: dict[Name, RoomConfig] = Field(default_factory=dict, max_length=MOST_SUBSCRIPTIONS)
        extensions: Extensions = Field(default_factory=Extensions)

    class Response(Model):
        """What is new, and the position to go on from."""

        pos: str
        lists: dict[str, ListAnswer] = Field(default_factory=dict)
        rooms: dict[str, RoomAnswer] = Field(default_factory=dict)
        extensions: dict[str, Any] = Field(default_factory=dict)
