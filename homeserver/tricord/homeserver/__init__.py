"""The homeserver: storage, rooms, sync, accounts, the client API, and `app.py` that puts them together."""
