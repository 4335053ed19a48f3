"""Accounts, sessions, devices, and what belongs to one user."""
