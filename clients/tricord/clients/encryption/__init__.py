"""End-to-end encryption: a state machine that takes syncs and hands out requests, and what builds on it."""
