"""The state of a room as an immutable map that shares what has not changed with the maps before it."""

from __future__ import annotations

from typing import NewType

StateRoot = NewType("StateRoot", bytes)
