"""To-device messages, device lists and one-time keys: the place for end-to-end encryption in a delta.

There is none yet. Clients take an absent or empty section for "nothing new" and, for the counts, "no keys here".
https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
"""

from __future__ import annotations

ENCODED_DEVICES = (
    b'"to_device":{"events":[]},'
    b'"device_lists":{"changed":[],"left":[]},'
    b'"device_one_time_keys_count":{},'
    b'"device_unused_fallback_key_types":[]'
)
