"""Nodes of states, from memory or the database, for the functions of `state_map.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import trio

from tricord.homeserver.generations import Generations
from tricord.homeserver.rooms.state_map import NodeId, Nodes, NodesMissing, Overlay, StateRoot, apply, hash_key
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.state_nodes import nodes_by_id

T = TypeVar("T")
Key = TypeVar("Key")

# What a node costs beside its bytes: two objects, and its place in the dictionary.
_OVERHEAD = 150
_BUDGET = 8 << 20
# What has not been used for so many minutes, or for twice as many, is forgotten.
_MINUTES = 10
_CHANGES_AT_A_TIME = 2_000


class NodeCache:
    """The nodes used lately, within a budget of bytes. A node never changes, so none is ever out of date."""

    def __init__(self, database: Database, *, budget: int = _BUDGET) -> None:
        self._database = database
        self._nodes: Generations[NodeId, bytes] = Generations(budget, lambda node: len(node) + _OVERHEAD)
        self._minutes = 0

    async def using(self, function: Callable[[Nodes], T]) -> T:
        """Call a function of the state map, as often as it takes to have all the nodes it wants.

        Each call brings it at least one level further.
        """
        return (await self.using_each(lambda nodes, _: function(nodes), (None,)))[None]

    async def using_each(self, function: Callable[[Nodes, Key], T], keys: Iterable[Key]) -> dict[Key, T]:
        """Call a function of the state map for each of some keys; what all of them want next is read together."""
        nodes = _Lookup(self)
        found: dict[Key, T] = {}
        waiting = list(keys)
        while waiting:
            missing: set[NodeId] = set()
            again: list[Key] = []
            for key in waiting:
                try:
                    found[key] = function(nodes, key)
                except NodesMissing as error:
                    missing.update(error.node_ids)
                    again.append(key)
            if missing:
                nodes.brought.update(await self._database.read(nodes_by_id, list(missing)))
                if lost := [node_id.hex() for node_id in missing if node_id not in nodes.brought]:
                    raise LookupError(f"nodes of a state are not in the database: {', '.join(lost)}")
                self.add(nodes.brought)
            waiting = again
        return found

    async def applied(
        self, root: StateRoot, changes: Mapping[tuple[str, str], int | None], made: Mapping[NodeId, bytes] | None = None
    ) -> tuple[StateRoot, dict[NodeId, bytes]]:
        """Apply changes, however many; return the root of the new state, and the nodes that are made, `made` included.

        Neighbours in the map are changed together, so that many changes hold nobody up, and make few nodes for nothing.
        """
        nodes_made = dict(made or {})
        neighbours = sorted(changes.items(), key=lambda change: hash_key(*change[0]))
        for start in range(0, len(neighbours), _CHANGES_AT_A_TIME):
            some = dict(neighbours[start : start + _CHANGES_AT_A_TIME])
            root, new = await self.using(partial(_with_changes, nodes_made, root, some))
            nodes_made |= new
            await trio.lowlevel.checkpoint()
        return root, nodes_made

    def get(self, node_id: NodeId) -> bytes | None:
        """Return a node that is in memory."""
        return self._nodes.get(node_id)

    def add(self, nodes: Mapping[NodeId, bytes]) -> None:
        """Keep nodes that have been read, or written."""
        for node_id, node in nodes.items():
            self._nodes.put(node_id, node)

    def let_go(self) -> None:
        """Forget the nodes that nobody has used lately; called every minute."""
        self._minutes += 1
        if self._minutes % _MINUTES == 0:
            self._nodes.age()


def _with_changes(
    made: Mapping[NodeId, bytes], root: StateRoot, changes: Mapping[tuple[str, str], int | None], nodes: Nodes
) -> tuple[StateRoot, dict[NodeId, bytes]]:
    return apply(Overlay(made, nodes), root, changes)


class _Lookup:
    """The cache, and what one call has brought: that stays, even if it is more than the cache holds."""

    def __init__(self, cache: NodeCache) -> None:
        self._cache = cache
        self.brought: dict[NodeId, bytes] = {}

    def get(self, node_id: NodeId, /) -> bytes | None:
        return self.brought.get(node_id) or self._cache.get(node_id)
