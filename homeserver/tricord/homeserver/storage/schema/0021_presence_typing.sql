-- What need not last for long, and still takes its place in the stream: who is there, and who is typing.
-- Typing is kept in a table, not only in memory, because after a restart somebody must tell the clients that the
-- typing has ended.

CREATE TABLE presence (
    user_id text PRIMARY KEY,
    state text NOT NULL,              -- online, unavailable or offline
    status_msg text,
    last_active_ts bigint NOT NULL,   -- milliseconds since the epoch
    currently_active boolean NOT NULL,
    position bigint NOT NULL
);

CREATE INDEX presence_by_position ON presence (position);

CREATE TABLE typing (
    room_id text NOT NULL,
    user_id text NOT NULL,
    until_ts bigint NOT NULL,         -- milliseconds since the epoch
    PRIMARY KEY (room_id, user_id)
);

-- When the set of a room's typing users last changed.
CREATE TABLE typing_changes (
    room_id text PRIMARY KEY,
    position bigint NOT NULL
);
