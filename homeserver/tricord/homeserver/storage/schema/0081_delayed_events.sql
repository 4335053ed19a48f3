-- Events that users have sent for later, and what became of them. They survive a restart: an event whose time came
-- while no server ran is sent when one does. A lease keeps two processes off one event.

CREATE TABLE delayed_events (
    delay_id text PRIMARY KEY,                -- a secret: whoever knows it may send, cancel or restart the event
    user_id text NOT NULL,
    device_id text,
    room_id text NOT NULL,
    type text NOT NULL,
    state_key text,
    content bytea NOT NULL,                   -- JSON
    request bytea UNIQUE,                     -- digest of the request, so that a repeated one gets the same answer
    delay_ms bigint NOT NULL,
    running_since_ts bigint NOT NULL,
    send_ts bigint NOT NULL,
    leased_until_ts bigint NOT NULL DEFAULT 0,
    finalised_ts bigint,                      -- NULL: it waits
    outcome text CHECK (outcome IN ('send', 'cancel', 'error')),
    reason text CHECK (reason IN ('action', 'delay')),
    event_id text,
    error bytea                               -- JSON: why it could not be sent
);
CREATE INDEX delayed_events_that_wait ON delayed_events (send_ts) WHERE finalised_ts IS NULL;
CREATE INDEX delayed_events_by_user ON delayed_events (user_id, send_ts);
