"""Server to server: discovery, keys, request signing, outgoing queues, incoming transactions."""
