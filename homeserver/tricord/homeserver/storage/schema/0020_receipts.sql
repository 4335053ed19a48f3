-- Receipts: up to where users have read. One row for each (room, user, type, thread); a newer receipt replaces the
-- older one and takes a new position, so that "what changed after position n" is an index range in each room.

CREATE TABLE receipts (
    room_id text NOT NULL,
    user_id text NOT NULL,
    receipt_type text NOT NULL,       -- m.read or m.read.private
    thread_id text NOT NULL,          -- a thread root's event id, 'main', or '' for a receipt of the whole room
    event_id text NOT NULL,
    event_position bigint,            -- of the event in its room; NULL while we do not have the event
    received_ts bigint NOT NULL,      -- milliseconds since the epoch
    position bigint NOT NULL,         -- in the stream
    PRIMARY KEY (room_id, user_id, receipt_type, thread_id)
);

CREATE INDEX receipts_by_position ON receipts (room_id, position);
CREATE INDEX receipts_by_user ON receipts (user_id, room_id);
