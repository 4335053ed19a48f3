-- How far the deletion of messages whose time is over has come: it goes through all rooms, again and again, and whoever
-- goes on with it, after a restart or in another process, goes on from here.

CREATE TABLE retention_progress (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    room_nid bigint NOT NULL,                 -- rooms below are done; of this one, what is up to the next two
    origin_server_ts bigint NOT NULL,
    event_nid bigint NOT NULL,
    due_ts bigint NOT NULL                    -- when to go on, in milliseconds since the epoch
);

INSERT INTO retention_progress (room_nid, origin_server_ts, event_nid, due_ts) VALUES (0, -9223372036854775808, 0, 0);
