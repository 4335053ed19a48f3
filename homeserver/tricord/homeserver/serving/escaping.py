"""Text within pages for browsers."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return text with what HTML would understand escaped."""
    from html import escape  # with a table of all entities, for pages that few servers are ever asked for

    return escape(text)
