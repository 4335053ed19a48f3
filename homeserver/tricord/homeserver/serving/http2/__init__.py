"""HTTP/2: hypercorn's protocol on h2, with the limits of HTTP/1.1.

hypercorn reads bodies as fast as they come, waits for ever for a slow reader, and fails the whole connection on a part
of a body that nobody wants any more. So the connection, the flow control of bodies and the exchanges are ours;
framing, header compression, settings and the interleaving of answers are left to it.
"""
