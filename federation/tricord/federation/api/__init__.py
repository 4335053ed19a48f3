"""Descriptions of the server-server endpoints: routed by the homeserver, called by the client."""
