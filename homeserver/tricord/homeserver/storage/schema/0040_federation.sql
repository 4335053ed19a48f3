-- What goes to other servers, and to which.
--
-- An event takes one row here, whatever the number of servers in its room. Which servers get it follows from
-- room_servers: those that had somebody in the room at its position. Both are written in the event's own statement, so
-- nothing is sent that was not committed, and nothing committed is forgotten.

CREATE TABLE outgoing_events (
    position bigint PRIMARY KEY,
    event_nid bigint NOT NULL,
    room_nid bigint NOT NULL
);

CREATE INDEX outgoing_events_by_room ON outgoing_events (room_nid, position);

-- From which position to which a server gets what happens in a room: after the join of the first of its users, up to
-- and with the departure of the last. A server that comes back has a second row. An interval of a single event and no
-- users is how the server of an invited user learns that the invitation is no more.
CREATE TABLE room_servers (
    room_nid bigint NOT NULL,
    server_name text NOT NULL,
    since bigint NOT NULL,                    -- the position before the first event it gets
    until bigint,                             -- of the last event it gets; NULL: it is in the room
    joined integer NOT NULL,                  -- how many of its users are in the room now
    PRIMARY KEY (room_nid, server_name, since)
);

CREATE INDEX room_servers_by_server ON room_servers (server_name, room_nid);

-- How far each server has got.
CREATE TABLE destinations (
    server_name text PRIMARY KEY,
    event_position bigint NOT NULL,           -- it has every outgoing event up to here
    receipt_position bigint NOT NULL,         -- and every receipt up to here
    failing_since_ts bigint,                  -- since when it has not answered
    newest_only_upto bigint NOT NULL DEFAULT 0 -- after a long absence: of the events up to here, the newest of each room
) WITH (fillfactor = 50);                     -- so that moving on touches no index

-- What goes to one server and must not be lost, and is no event: messages to devices, changes of keys and devices.
CREATE TABLE outgoing_edus (
    server_name text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    edu bytea NOT NULL,                       -- JSON
    PRIMARY KEY (server_name, number)
);
