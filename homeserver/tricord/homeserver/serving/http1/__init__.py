"""HTTP/1.1: httptools parses, the connection's own task serves, and an answer is one send.

hypercorn's own way through HTTP/1.1 costs about ten times as much (a task, a channel and a timer for each request).
"""
