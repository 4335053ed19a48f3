-- How rooms are found: the aliases of this server, and the rooms it publishes in its directory.
--
-- Both name rooms by their text id: they are small, they are asked for by text, and an alias is reserved before the
-- room it will stand for exists.

CREATE TABLE room_aliases (
    alias      text PRIMARY KEY,
    -- NULL while the room is being created: the name is taken and stands for nothing yet.
    room_id    text,
    creator    text NOT NULL,
    created_ts bigint NOT NULL
);

CREATE INDEX room_aliases_by_room ON room_aliases (room_id);

CREATE TABLE published_rooms (
    room_id      text PRIMARY KEY,
    published_by text NOT NULL,
    published_ts bigint NOT NULL
);
