"""Routes for other servers: parse, one call, answer."""
