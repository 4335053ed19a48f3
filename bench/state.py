"""What the state map costs: bytes a join in a room of 10,000 members, look-ups, differences.

    python -m bench.state

Nodes are kept in memory, so this is the cost of the map itself; a node also costs a row of the database, which is
estimated here with what PostgreSQL adds to one (row header, item pointer, index entry).
"""

from __future__ import annotations

import random
import time

from tricord.homeserver.rooms import state_map

MEMBERS = 10_000
_ROW = 24 + 4 + 2 * (16 + 4) + 16 + 4 + 4


def main() -> None:
    """Measure each shape and print a line."""
    print("fan-out  leaf  bytes/join  rows/join  look-up µs  change µs  difference of 1 change µs  nodes of one state")
    for digit_bits, leaf_entries in ((3, 8), (3, 16), (4, 8), (4, 16), (4, 32), (5, 16), (5, 32), (6, 32)):
        print(_measured(digit_bits, leaf_entries))


def _measured(digit_bits: int, leaf_entries: int) -> str:
    _reshape(digit_bits, leaf_entries)
    nodes: dict[bytes, bytes] = {}
    root = state_map.EMPTY
    keys = [("m.room.member", f"@user{number}:example.org") for number in range(MEMBERS)]
    numbers = iter(range(1 << 40, 1 << 41))
    for key in keys[: MEMBERS - 1000]:
        root, made = state_map.apply(nodes, root, {key: next(numbers)})
        nodes.update(made)
    size, rows, began, before = 0, 0, time.perf_counter(), root
    for key in keys[MEMBERS - 1000 :]:
        before = root
        root, made = state_map.apply(nodes, root, {key: next(numbers)})
        nodes.update(made)
        size += sum(len(node) + _ROW for node in made.values())
        rows += len(made)
    change = (time.perf_counter() - began) / 1000
    sample = random.sample(keys, 1000)
    look_up = _timed(lambda: [state_map.get_many(nodes, root, [key]) for key in sample]) / 1000
    difference = _timed(lambda: [state_map.difference(nodes, before, root) for _ in range(100)]) / 100
    whole = _reachable(nodes, root)
    return (
        f"{1 << digit_bits:7}{leaf_entries:6}{size / 1000:12.0f}{rows / 1000:11.2f}{look_up * 1e6:12.1f}"
        f"{change * 1e6:11.1f}{difference * 1e6:27.1f}{whole:20}"
    )


def _reshape(digit_bits: int, leaf_entries: int) -> None:
    present = max(1, (1 << digit_bits) // 8)
    vars(state_map).update(
        DIGIT_BITS=digit_bits,
        LEAF_ENTRIES=leaf_entries,
        _PRESENT=present,
        _CHILDREN_PRESENT=slice(5, 5 + present),
        _FIRST_CHILD=5 + present,
    )


def _timed(act: object) -> float:
    assert callable(act)
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _reachable(nodes: dict[bytes, bytes], root: bytes) -> int:
    seen, waiting = 0, [root]
    while waiting:
        node = nodes[waiting.pop()]
        seen += 1
        if node.startswith(b"B"):
            waiting += vars(state_map)["_children"](node).values()
    return seen


if __name__ == "__main__":
    main()
