"""The rules of Matrix: pure functions and values; no I/O, no clock."""
