"""Searching for somebody: only what they may see, whatever the index knows.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio

from tricord.clients.api.search import EventContext, RoomEvents
from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.lexemes import Kind, full_query, words_query
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.search.texts import searched_text
from tricord.homeserver.search.tokens import SearchToken
from tricord.homeserver.search.words import LONGEST_WORD, Run, folded, runs
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import events_by_nid
from tricord.homeserver.storage.memberships import Membership
from tricord.homeserver.storage.search import (
    Match,
    Question,
    best_matches,
    count_matches,
    newest_matches,
    nids_around,
    room_nids,
)
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.tokens import Place, encode_place
from tricord.protocol.errors import InvalidParam
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_KINDS = {"content.body": Kind.BODY, "content.name": Kind.NAME, "content.topic": Kind.TOPIC}
_DEFAULT_LIMIT, _HIGHEST_LIMIT = 10, 50
_MOST_WORDS = 32
_MOST_CONTEXT = 20
# How many matches are looked at for a page where few of them may be seen, and how many are compared for relevance.
_BATCH, _MOST_BATCHES = 100, 10
_MOST_COMPARED = 5_000
_MOST_COUNTED = 10_000
_MOST_PREDECESSORS = 20
_MOST_HIGHLIGHTS = 50
_MOST_CHARACTERS_LOOKED_AT = 2_000
_MEMBER, _CREATE = "m.room.member", ("m.room.create", "")
# What was sent a moment ago is waited for, unless the index is far behind.
_PATIENCE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class _Found:
    match: Match
    seen: Seen


class Search:
    """Finds what somebody has read.

    SQL of a page: the index once or twice, the events, what `Visibility` needs, and one look each for what is around
    the results, the profiles, the relations and the count.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        memberships: Memberships,
        state: RoomState,
        state_view: StateView,
        visibility: Visibility,
        preferences: Preferences,
        aggregations: Aggregations,
        client_events: ClientEvents,
        indexer: SearchIndexer,
        stems: Stems,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._memberships = memberships
        self._state = state
        self._state_view = state_view
        self._visibility = visibility
        self._preferences = preferences
        self._aggregations = aggregations
        self._client_events = client_events
        self._indexer = indexer
        self._stems = stems

    async def events(self, requester: Requester, wanted: RoomEvents, next_batch: str | None) -> JsonObject:
        """Return a page of events that match, as the category `room_events` of the answer."""
        token = None if next_batch is None else SearchToken.decode(next_batch)
        if token is not None and token.order != wanted.order_by:
            raise InvalidParam("`next_batch` is of a search in another order")
        event_filter = RoomEventFilter() if wanted.filter is None else RoomEventFilter.parse(wanted.filter)
        with trio.move_on_after(_PATIENCE_SECONDS):
            await self._indexer.catch_up()
        sought = [
            run._replace(text=run.text[:LONGEST_WORD])
            for run in itertools.islice(runs(folded(wanted.search_term)), _MOST_WORDS)
        ]
        rooms = await self._rooms(requester.user_id, event_filter)
        nids = await self._database.read(room_nids, rooms)
        if token is not None and token.group_key == "room_id":
            nids = {room_id: nid for room_id, nid in nids.items() if room_id == token.group}
        kinds = [_KINDS[key] for key in (wanted.keys if wanted.keys is not None else _KINDS)]
        if not sought or not nids or not kinds:
            return {"count": 0, "highlights": [], "results": []}
        question, lexemes = await self._question(sought, kinds, event_filter, list(nids.values()), token)
        limit = min(event_filter.limit or _DEFAULT_LIMIT, _HIGHEST_LIMIT)
        found, end = await self._find(requester.user_id, question, event_filter, wanted.order_by, token, limit)
        answer = await self._told(requester, wanted, found, sought, lexemes)
        answer["count"] = max(len(found), await self._count(requester.user_id, question, rooms, nids))
        if end is not None:
            answer["next_batch"] = end.encode()
        if wanted.groupings.group_by:
            answer["groups"] = _groups([group.key for group in wanted.groupings.group_by], found, end, question.upto)
        return answer

    async def _rooms(self, user_id: UserId, event_filter: RoomEventFilter) -> dict[RoomId, Membership]:
        """Return the rooms to search: with those that the client names, the ones they came from."""
        own = await self._memberships.rooms_of(user_id)
        if event_filter.rooms is None:
            return {room_id: row for room_id, row in own.items() if event_filter.allows_room(room_id)}
        chosen: set[RoomId | None] = {room_id for room_id in event_filter.rooms if room_id in own}
        newest: set[RoomId | None] = set(chosen)
        for _ in range(_MOST_PREDECESSORS):
            states = await self._state.current_in_rooms({room_id: (_CREATE,) for room_id in newest if room_id})
            before = {_predecessor(state.get(_CREATE)) for state in states.values()}
            newest = {room_id for room_id in before if room_id in own and room_id not in chosen}
            if not newest:
                break
            chosen |= newest
        return {room_id: own[room_id] for room_id in chosen if room_id and room_id not in event_filter.not_rooms}

    async def _question(
        self,
        sought: Sequence[Run],
        kinds: Sequence[Kind],
        event_filter: RoomEventFilter,
        nids: Sequence[int],
        token: SearchToken | None,
    ) -> tuple[Question, frozenset[str]]:
        """Return what to ask the index, and all lexemes that are an answer."""
        words = {run.text for run in sought if not run.is_unspaced}
        stems = await self._database.read(self._stems.of, words)
        query = words_query(sought, stems)
        senders = event_filter.senders
        if token is not None and token.group_key == "sender":
            group = frozenset({UserId(token.group)})
            senders = group if senders is None else senders & group
        question = Question(
            full_query(query, nids, kinds),
            query,
            nids,
            None if senders is None else list(senders),
            self._publisher.position if token is None else token.upto,
        )
        return question, frozenset().union(*stems.values()) if stems else frozenset()

    async def _find(
        self,
        user_id: UserId,
        question: Question,
        event_filter: RoomEventFilter,
        order: str,
        token: SearchToken | None,
        limit: int,
    ) -> tuple[list[_Found], SearchToken | None]:
        """Read on until there are enough results; return them and where to go on, if there is more."""
        # A filter of rooms is part of the question, and includes rooms that the filter does not name.
        event_filter = replace(event_filter, rooms=None)
        last = token or SearchToken(order, "", "", question.upto, 0, 0, 0)
        before = None if token is None or order == "rank" else (token.position, token.rank, token.nid)
        offset = token.position if token is not None and order == "rank" else 0
        found: list[_Found] = []
        for _ in range(_MOST_BATCHES):
            if order == "rank":
                matches = await self._database.run(best_matches, question, offset, _BATCH, _MOST_COMPARED)
            else:
                matches = await self._database.run(newest_matches, question, before, _BATCH)
            for one in await self._seen(user_id, matches, event_filter):
                if len(found) == limit:
                    return found, last
                found.append(one)
                last = self._after(last, one.match, offset + matches.index(one.match) + 1)
            if len(matches) < _BATCH:
                return found, None
            offset += len(matches)
            before = (matches[-1].position, matches[-1].backfill_rank, matches[-1].event_nid)
            last = self._after(last, matches[-1], offset)
        return found, last

    @staticmethod
    def _after(token: SearchToken, match: Match, offset: int) -> SearchToken:
        if token.order == "rank":
            return replace(token, position=offset)
        return replace(token, position=match.position, rank=match.backfill_rank, nid=match.event_nid)

    async def _seen(self, user_id: UserId, matches: Sequence[Match], event_filter: RoomEventFilter) -> list[_Found]:
        """Return the matches that a user may see; one by the words of an edit, only if they may see that as well."""
        nids = [nid for match in matches for nid in (match.event_nid, match.edit_nid) if nid is not None]
        events = await self._database.read(events_by_nid, nids)
        there = [stored for stored in events.values() if stored.redacted_because is None]
        seen = {one.stored.nid: one for one in await self._visibility.seen(user_id, there)}
        return [
            _Found(match, seen[match.event_nid])
            for match in matches
            if match.event_nid in seen
            and (match.edit_nid is None or match.edit_nid in seen)
            and event_filter.allows(seen[match.event_nid].stored.event)
        ]

    async def _count(
        self, user_id: UserId, question: Question, rooms: Mapping[RoomId, Membership], nids: Mapping[RoomId, int]
    ) -> int:
        """Return how many matches there are where the user is, since they came: of others the number tells nothing."""
        since = {
            nids[room_id]: row.since for room_id, row in rooms.items() if room_id in nids and row.membership == "join"
        }
        ignored = await self._preferences.ignored_by(user_id)
        return await self._database.run(count_matches, question, since, ignored, _MOST_COUNTED)

    async def _told(
        self,
        requester: Requester,
        wanted: RoomEvents,
        found: Sequence[_Found],
        sought: Sequence[Run],
        lexemes: frozenset[str],
    ) -> JsonObject:
        seen = [one.seen for one in found]
        aggregations = await self._aggregations.of(requester.user_id, [one.stored for one in seen])
        events = await self._client_events.seen(requester, seen, aggregations)
        results: list[JsonObject] = [
            {"rank": one.match.relevance, "result": event} for one, event in zip(found, events, strict=True)
        ]
        if wanted.event_context is not None:
            contexts = await self._contexts(requester, seen, wanted.event_context)
            for result, context in zip(results, contexts, strict=True):
                result["context"] = context
        answer: JsonObject = {
            "results": results,
            "highlights": await self._highlights(seen, aggregations, sought, lexemes),
        }
        if wanted.include_state:
            answer["state"] = {
                room_id: await self._state_view.everything(requester, room_id)
                for room_id in dict.fromkeys(one.stored.event.room_id for one in seen)
            }
        return answer

    async def _contexts(self, requester: Requester, results: Sequence[Seen], wanted: EventContext) -> list[JsonObject]:
        """Return what was around the results, as far as it can be seen."""
        before, after = min(wanted.before_limit, _MOST_CONTEXT), min(wanted.after_limit, _MOST_CONTEXT)
        nids = [one.stored.nid for one in results]
        around = await self._database.read(nids_around, nids, before, after)
        neighbours = {nid for sides in around.values() for side in sides for nid in side}
        events = await self._database.read(events_by_nid, list(neighbours))
        seen = await self._visibility.seen(requester.user_id, list(events.values()))
        told = dict(zip((one.stored.nid for one in seen), await self._client_events.seen(requester, seen), strict=True))
        profiles: Mapping[StoredEvent, JsonObject] = {}
        shown = {
            one.stored: [events[nid] for side in around[one.stored.nid] for nid in side if nid in told]
            for one in results
        }
        if wanted.include_profile:
            profiles = await self._profiles(shown)
        contexts = []
        for one in results:
            of_before, of_after = around[one.stored.nid]
            first = next((events[nid] for nid in reversed(of_before) if nid in told), one.stored)
            last = next((events[nid] for nid in reversed(of_after) if nid in told), one.stored)
            context: JsonObject = {
                "start": encode_place(Place(first.place.position, first.place.rank - 1)),
                "end": encode_place(last.place),
                "events_before": [told[nid] for nid in of_before if nid in told],
                "events_after": [told[nid] for nid in of_after if nid in told],
            }
            if wanted.include_profile:
                context["profile_info"] = profiles.get(one.stored, {})
            contexts.append(context)
        return contexts

    async def _profiles(self, shown: Mapping[StoredEvent, Collection[StoredEvent]]) -> dict[StoredEvent, JsonObject]:
        """Return, for each result, who those who speak there were then."""
        senders = {
            result: {result.event.sender, *(stored.event.sender for stored in others)}
            for result, others in shown.items()
        }
        keys: list[StateKey] = [(_MEMBER, sender) for sender in {one for many in senders.values() for one in many}]
        states = await self._state.at_many(list(shown), keys)
        return {
            result: {
                sender: _profile(states[result][_MEMBER, sender].event.content)
                for sender in of_result
                if (_MEMBER, sender) in states[result]
            }
            for result, of_result in senders.items()
        }

    async def _highlights(
        self,
        results: Iterable[Seen],
        aggregations: Mapping[Any, Aggregation],
        sought: Sequence[Run],
        lexemes: frozenset[str],
    ) -> list[str]:
        """Return the words to highlight: those sought, and the forms of them that the results have."""
        spoken: dict[str, None] = {}
        for one in results:
            aggregation = aggregations.get(one.stored.event.event_id)
            edit = None if aggregation is None else aggregation.replacement
            text = searched_text(one.stored.event, None if edit is None else edit.stored.event)
            if text is not None:
                told = folded(text[1][:_MOST_CHARACTERS_LOOKED_AT])
                spoken |= dict.fromkeys(run.text for run in runs(told) if not run.is_unspaced)
        stems = await self._database.read(self._stems.of, spoken)
        forms = [word for word in spoken if not lexemes.isdisjoint(stems[word])]
        return list(dict.fromkeys((*(run.text for run in sought), *forms)))[:_MOST_HIGHLIGHTS]


def _groups(keys: Iterable[str], found: Sequence[_Found], end: SearchToken | None, upto: int) -> JsonObject:
    groups: JsonObject = {}
    for key in dict.fromkeys(keys):
        of_key: JsonObject = {}
        for one in found:
            event, match = one.seen.stored.event, one.match
            name: str = event.room_id if key == "room_id" else event.sender
            group = of_key.setdefault(name, {"order": len(of_key) + 1, "results": []})
            group["results"].append(event.event_id)
            if end is not None and end.order == "recent" and not end.group_key:
                last = SearchToken(end.order, key, name, upto, match.position, match.backfill_rank, match.event_nid)
                group["next_batch"] = last.encode()
        if end is not None and end.order == "rank" and not end.group_key:
            for name, group in of_key.items():
                # Counted within the group, the results told of it are the first of it.
                group["next_batch"] = SearchToken(end.order, key, name, upto, len(group["results"]), 0, 0).encode()
        groups[key] = of_key
    return groups


def _predecessor(create: StoredEvent | None) -> RoomId | None:
    predecessor = None if create is None else create.event.content.get("predecessor")
    room_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    return RoomId(room_id) if isinstance(room_id, str) else None


def _profile(content: Mapping[str, Any]) -> JsonObject:
    shown = {"displayname": content.get("displayname"), "avatar_url": content.get("avatar_url")}
    return {name: value for name, value in shown.items() if isinstance(value, str)}
