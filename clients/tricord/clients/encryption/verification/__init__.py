"""Two people, or two devices of one, make sure that they have each other's keys.

https://spec.matrix.org/v1.19/client-server-api/#device-verification
"""
