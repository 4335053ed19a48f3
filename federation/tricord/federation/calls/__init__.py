"""What one server asks of another, call by call; `Peers` is made of these groups.

What comes back has the shape it must have; no more is known of it. Events come as the JSON they were: nothing about
them is checked here, whoever takes them verifies them.
"""
