"""HTTP: listeners, connections of HTTP/1.1 and HTTP/2, routing, and the call that a handler gets."""
