-- History of rooms whose members are still being fetched: it is shown at once, by what is known of the room, and judged
-- by the whole state as soon as that is here.
CREATE TABLE early_history (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL
);

CREATE INDEX early_history_by_room ON early_history (room_nid);
