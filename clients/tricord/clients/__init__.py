"""The SDK for bots and apps, and the descriptions of the client endpoints."""
