"""Rooms as append-only logs: appending, state, history, membership."""
