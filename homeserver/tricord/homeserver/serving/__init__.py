"""HTTP: listeners, the HTTP/1.1 lane, routing, and the call a handler gets."""
