"""Tables in Markdown of what two sides have made of the same work."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.asked import ASKED, Asked
from bench.figures import HIGHER_IS_BETTER, Measured

_UNITS = {
    "per_second": "/s",
    "p50_ms": " ms",
    "ms": " ms",
    "seconds": " s",
    "MiB": " MiB",
    "bytes": "",
}
_OF_ASKED = {(one.row, one.key) for one in ASKED}


def asked_for(ours: Measured, theirs: Measured, rows: Collection[str] | None = None) -> Iterator[str]:
    """Give the table of what something is asked of; of some rows only, if they are named."""
    mine, other = ours.best, theirs.best
    found = [
        _asked_line(one, mine.get(one.row, {}), other.get(one.row, {}))
        for one in ASKED
        if rows is None or one.row in rows
    ]
    if found:
        yield from (*_head(ours, theirs, " asked for | met |", "---:|---|"), *found)


def beyond(ours: Measured, theirs: Measured, rows: Collection[str] | None = None) -> Iterator[str]:
    """Give the table of what was measured beyond, in the same way."""
    found = [
        line
        for line, (row, key) in _compared(ours, theirs)
        if (row, key) not in _OF_ASKED and (rows is None or row in rows)
    ]
    if found:
        yield from (*head(ours, theirs), *found)


def head(ours: Measured, theirs: Measured) -> list[str]:
    """Return the first lines of a table of both."""
    return _head(ours, theirs, "", "")


def lines(ours: Measured, theirs: Measured) -> list[str]:
    """Return all figures of both."""
    return [line for line, _ in _compared(ours, theirs)]


def memory(ours: Measured, theirs: Measured) -> Iterator[str]:
    """Give the table of what was resident after each scenario."""
    names = list(ours.memory)
    yield f"| MiB resident after | {' | '.join(names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for side in (theirs, ours):
        if side.memory:
            cells = (f"{side.memory[name]:.0f}" if name in side.memory else "" for name in names)
            yield f"| {side.name} | {' | '.join(cells)} |"


def _head(ours: Measured, theirs: Measured, titles: str, rules: str) -> list[str]:
    return [f"| | {theirs.name} | {ours.name} | times as good |{titles}", f"|---|---:|---:|---:|{rules}"]


def _compared(ours: Measured, theirs: Measured) -> Iterator[tuple[str, tuple[str, str]]]:
    others = theirs.best
    for row, values in ours.best.items():
        for key, value in values.items():
            if key in _UNITS:
                work = f"{row}, p50" if key == "p50_ms" else row
                yield _line(work, key, value, others.get(row, {}).get(key)), (row, key)


def _asked_line(asked: Asked, ours: dict[str, float], theirs: dict[str, float]) -> str:
    value, other = ours.get(asked.key), theirs.get(asked.key)
    reached = value if asked.at_least is not None else _times(asked.key, value, other)
    wanted = asked.at_least if asked.at_least is not None else asked.times
    assert wanted is not None
    work = asked.work.format(**ours) if ours else asked.work.partition("{")[0].strip()
    said = f"{wanted:,.0f}{_UNITS[asked.key]}" if asked.at_least is not None else f"{wanted:g}"
    left = ""
    if asked.none:
        said += f", none {asked.none}"
        left = f", {asked.none}: {theirs.get(asked.none, 0):.0f} and {ours.get(asked.none, 0):.0f}"
    met = "not measured" if reached is None else "yes" if reached >= wanted and not ours.get(asked.none) else "no"
    return f"{_line(work + left, asked.key, value, other)} {said} | {met} |"


def _line(work: str, key: str, value: float | None, other: float | None) -> str:
    times = _times(key, value, other)
    said = "" if times is None else f"{times:.0f}" if times >= 20 else f"{times:.1f}"
    return f"| {work} | {_said(other, key)} | {_said(value, key)} | {said} |"


def _times(key: str, value: float | None, other: float | None) -> float | None:
    if not value or not other:
        return None
    return value / other if key == HIGHER_IS_BETTER else other / value


def _said(value: float | None, key: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}{_UNITS[key]}" if value >= 100 else f"{value:.3g}{_UNITS[key]}"
