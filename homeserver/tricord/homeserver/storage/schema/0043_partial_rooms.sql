-- Rooms that this server has joined with their members left out, so that they could be used at once, and whose members
-- are fetched afterwards: what is needed for that survives a restart. A room stays here when it is complete: clients
-- that were told of it before learn then that it is another.
CREATE TABLE partial_rooms (
    room_nid bigint PRIMARY KEY,
    join_event_id text NOT NULL,
    servers text[] NOT NULL,                  -- those in the room, by the word of the server we joined through, first
    told_root bytea NOT NULL,                 -- the state before our join, without the members that were left out
    started_ts bigint NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    trouble text NOT NULL DEFAULT '',         -- why the last try failed
    is_left boolean NOT NULL DEFAULT false,   -- our users have left before it was complete, and it never will be
    complete_position bigint                  -- where in the stream the room became complete
);

-- What other servers sent of such a room: it can only be judged by the whole state, and waits for it.
CREATE TABLE postponed_events (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_nid bigint NOT NULL,
    origin text NOT NULL,
    pdu bytea NOT NULL
);

CREATE INDEX postponed_events_by_room ON postponed_events (room_nid, number);
