"""Simplified sliding sync (MSC4186): the same changes as in `/sync`, of the rooms that a client looks at.

A request says which rooms it looks at (`wishes.py`), the connection knows what it was told of them (`connections.py`),
the lists say which they are now (`lists.py`), and `rooms.py` and `extensions.py` say what is new. `engine.py` goes
through these steps. https://github.com/matrix-org/matrix-spec-proposals/pull/4186
"""
