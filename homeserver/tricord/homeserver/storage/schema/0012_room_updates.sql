-- What the rooms of a user must still be told: a new profile, or that the user is gone. A user may be in a thousand
-- rooms, so the request does not wait for it; the row survives a restart, and a lease keeps two processes off one job.

CREATE TABLE room_updates (
    user_id text PRIMARY KEY,
    act text NOT NULL CHECK (act IN ('profile', 'leave')),
    -- Counts the requests, so that one that came in during the work is not lost when the work is done.
    revision bigint NOT NULL DEFAULT 1,
    leased_until_ts bigint NOT NULL DEFAULT 0
);
