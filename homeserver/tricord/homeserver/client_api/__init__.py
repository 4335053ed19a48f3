"""The Client-Server API: a route parses, makes one call, and answers."""
