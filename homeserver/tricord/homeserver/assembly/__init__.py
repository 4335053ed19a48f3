"""How the parts of the homeserver are put together, a file a department; `app.py` opens them in order.

A department builds its parts in the order in which they need each other and keeps those that others need. It knows the
departments that it is given, and no other.
"""
