"""The state of a room as an immutable map that shares with the maps before it what has not changed.

A map from (type, state key) to event numbers, kept as git keeps trees: a node is named by the hash of what it holds. A
change writes the few nodes on the way from the root to its key; equal maps have equal roots, however they came about;
what two maps have in common is skipped when they are compared.

Keys are hashed, and the digits of the hash say which way to go. A node that would hold few entries is a leaf with all
of them in order, any other is a branch; that is what makes the shape follow from the entries alone.

    leaf    "L", then for each entry the hash of its key (16 bytes) and the event's number (8)
    branch  "B", how many entries are below (4 bytes), which children there are (a bit each), their names (16 each)

Nothing here reads from anywhere: the functions are handed a mapping of nodes, and raise NodesMissing with all that they
could have used, so that the caller can bring a whole level at once and call again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NewType, Protocol, TypeVar

StateRoot = NewType("StateRoot", bytes)
NodeId = bytes

EMPTY = StateRoot(b"")

# Measured: see "State" in bench/README.md.
DIGIT_BITS = 4
LEAF_ENTRIES = 16

_HASH = 16
_NID = 8
_ENTRY = _HASH + _NID
_LEAF = ord("L")
_COUNT = slice(1, 5)
_PRESENT = (1 << DIGIT_BITS) // 8
_CHILDREN_PRESENT = slice(5, 5 + _PRESENT)
_FIRST_CHILD = 5 + _PRESENT

T = TypeVar("T")

Entries = dict[bytes, int]
"""Event numbers by hashed key."""


class Nodes(Protocol):
    """Where nodes are looked up."""

    def get(self, node_id: NodeId, /) -> bytes | None: ...


class NodesMissing(Exception):
    """The mapping lacks nodes; nothing was computed."""

    def __init__(self, node_ids: Iterable[NodeId]) -> None:
        super().__init__()
        self.node_ids = list(node_ids)


def hash_key(event_type: str, state_key: str) -> bytes:
    """Return what stands for a key inside the map. Neither part has a NUL in it."""
    return blake2b(f"{event_type}\0{state_key}".encode(), digest_size=_HASH).digest()


def get_many(nodes: Nodes, root: StateRoot, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the event numbers of those of the keys that are set."""
    missing: set[NodeId] = set()
    found = {}
    for key in keys:
        hashed = hash_key(*key)
        node_id, level = bytes(root), 0
        while node_id:
            node = nodes.get(node_id)
            if node is None:
                missing.add(node_id)
                break
            if node[0] == _LEAF:
                nid = _entries(node).get(hashed)
                if nid is not None:
                    found[key] = nid
                break
            node_id = _child(node, _digit(hashed, level))
            level += 1
    if missing:
        raise NodesMissing(missing)
    return found


def event_numbers(nodes: Nodes, root: StateRoot) -> list[int]:
    """Return the numbers of all events of a state; what they set is in the events."""
    return list(_all_entries(nodes, [root]).values())


def difference(nodes: Nodes, before: StateRoot, after: StateRoot) -> list[tuple[int | None, int | None]]:
    """Return the changes from one state to another, each as the event number before and after; None: not set."""
    missing: set[NodeId] = set()
    changes: list[tuple[int | None, int | None]] = []
    waiting: list[tuple[NodeId, NodeId]] = [(before, after)]
    while waiting:
        one, other = waiting.pop()
        if one == other:
            continue
        pair = [nodes.get(node_id) or b"" for node_id in (one, other)]
        unknown = {node_id for node_id, node in zip((one, other), pair, strict=True) if node_id and not node}
        if unknown:
            missing |= unknown
        elif all(node.startswith(b"B") for node in pair):
            children = [_children(node) for node in pair]
            waiting += [
                (children[0].get(digit, b""), children[1].get(digit, b"")) for digit in children[0] | children[1]
            ]
        else:
            try:
                old, new = _all_entries(nodes, [one]), _all_entries(nodes, [other])
            except NodesMissing as error:
                missing.update(error.node_ids)
                continue
            changes += [(old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)]
    if missing:
        raise NodesMissing(missing)
    return changes


def apply(
    nodes: Nodes, root: StateRoot, changes: Mapping[tuple[str, str], int | None]
) -> tuple[StateRoot, dict[NodeId, bytes]]:
    """Set keys, or unset them (None); return the root of the new state, and its nodes that the old one has not."""
    hashed = {hash_key(*key): nid for key, nid in changes.items()}
    made: dict[NodeId, bytes] = {}
    new_root, _ = _Change(nodes, made).node_with(root, hashed, 0)
    return StateRoot(new_root), made


class Overlay:
    """Nodes that are not kept anywhere yet, on top of those that are."""

    def __init__(self, made: Mapping[NodeId, bytes], nodes: Nodes) -> None:
        self._made = made
        self._nodes = nodes

    def get(self, node_id: NodeId, /) -> bytes | None:
        """Look a node up."""
        return self._made.get(node_id) or self._nodes.get(node_id)


class _Change:
    """One application of changes: the nodes there are, and those it makes."""

    def __init__(self, nodes: Nodes, made: dict[NodeId, bytes]) -> None:
        self._nodes = nodes
        self._made = made

    def node_with(self, node_id: NodeId, changes: Mapping[bytes, int | None], level: int) -> tuple[NodeId, int]:
        """Return the node that a node becomes by changes below it, and how many entries more there are then."""
        if not node_id:
            return self._node_of({}, changes, level)
        node = self._nodes.get(node_id)
        if node is None:
            raise NodesMissing([node_id])
        if node[0] == _LEAF:
            return self._node_of(_entries(node), changes, level)
        children = _children(node)
        missing: list[NodeId] = []
        more = 0
        for digit, part in _by_digit(changes.items(), level):
            try:
                child, more_below = self.node_with(children.get(digit, b""), part, level + 1)
            except NodesMissing as error:
                missing += error.node_ids
                continue
            more += more_below
            if child:
                children[digit] = child
            else:
                children.pop(digit, None)
        if missing:
            raise NodesMissing(missing)
        count = int.from_bytes(node[_COUNT]) + more
        if count > LEAF_ENTRIES:
            return self._branch_of(children, count), more
        # It has become small enough to be a leaf, and equal states must look alike.
        return self._made_of(_all_entries(Overlay(self._made, self._nodes), children.values()), level), more

    def _node_of(self, entries: Entries, changes: Mapping[bytes, int | None], level: int) -> tuple[NodeId, int]:
        changed = {key: nid for key, nid in {**entries, **changes}.items() if nid is not None}
        return self._made_of(changed, level), len(changed) - len(entries)

    def _made_of(self, entries: Entries, level: int) -> NodeId:
        if not entries:
            return b""
        if len(entries) <= LEAF_ENTRIES:
            return self._named(b"L" + b"".join([key + nid.to_bytes(_NID) for key, nid in sorted(entries.items())]))
        children = {digit: self._made_of(part, level + 1) for digit, part in _by_digit(entries.items(), level)}
        return self._branch_of(children, len(entries))

    def _branch_of(self, children: dict[int, NodeId], count: int) -> NodeId:
        present = sum(1 << digit for digit in children)
        names = [name for _, name in sorted(children.items())]
        return self._named(b"B" + count.to_bytes(4) + present.to_bytes(_PRESENT) + b"".join(names))

    def _named(self, node: bytes) -> NodeId:
        node_id = blake2b(node, digest_size=_HASH).digest()
        self._made[node_id] = node
        return node_id


def _digit(hashed: bytes, level: int) -> int:
    """Return the digit of a hashed key that says which way to go on some level."""
    return int.from_bytes(hashed) >> (_HASH * 8 - (level + 1) * DIGIT_BITS) & (1 << DIGIT_BITS) - 1


def _by_digit(items: Iterable[tuple[bytes, T]], level: int) -> Iterable[tuple[int, dict[bytes, T]]]:
    parts: dict[int, dict[bytes, T]] = {}
    for key, value in items:
        parts.setdefault(_digit(key, level), {})[key] = value
    return parts.items()


def _entries(leaf: bytes) -> Entries:
    return {
        leaf[start : start + _HASH]: int.from_bytes(leaf[start + _HASH : start + _ENTRY])
        for start in range(1, len(leaf), _ENTRY)
    }


def _child(branch: bytes, digit: int) -> NodeId:
    """Return the child for a digit, b"" if there is none."""
    present = int.from_bytes(branch[_CHILDREN_PRESENT])
    if not present >> digit & 1:
        return b""
    start = _FIRST_CHILD + _HASH * (present & (1 << digit) - 1).bit_count()
    return branch[start : start + _HASH]


def _children(branch: bytes) -> dict[int, NodeId]:
    present = int.from_bytes(branch[_CHILDREN_PRESENT])
    digits = [digit for digit in range(1 << DIGIT_BITS) if present >> digit & 1]
    return {
        digit: branch[start : start + _HASH]
        for digit, start in zip(digits, range(_FIRST_CHILD, len(branch), _HASH), strict=True)
    }


def _all_entries(nodes: Nodes, node_ids: Iterable[NodeId]) -> Entries:
    """Return all entries at and below some nodes, level by level."""
    entries: Entries = {}
    waiting = [node_id for node_id in node_ids if node_id]
    missing: list[NodeId] = []
    while waiting:
        node_id = waiting.pop()
        node = nodes.get(node_id)
        if node is None:
            missing.append(node_id)
        elif node[0] == _LEAF:
            entries.update(_entries(node))
        else:
            waiting += _children(node).values()
    if missing:
        raise NodesMissing(missing)
    return entries
