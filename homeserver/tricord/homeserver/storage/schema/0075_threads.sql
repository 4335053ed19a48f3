-- Threads, by their newest event: what the list of a room's threads is in the order of. Everything else that is told of
-- a thread is counted from event_relations when somebody asks, so that it cannot drift.

CREATE TABLE threads (
    room_nid bigint NOT NULL,
    root_id text NOT NULL,
    latest bigint NOT NULL,                   -- position of the newest event, when that was written
    PRIMARY KEY (room_nid, root_id)
);

CREATE INDEX threads_by_latest ON threads (room_nid, latest, root_id);

INSERT INTO threads (room_nid, root_id, latest)
SELECT relation.room_nid, relation.parent_id, max(child.position)
FROM event_relations AS relation JOIN events AS child ON child.event_nid = relation.child_nid
WHERE relation.rel_type = 'm.thread' AND child.position IS NOT NULL
GROUP BY relation.room_nid, relation.parent_id;

-- Whether somebody takes part in a thread, or has said the same of an event before.
CREATE INDEX event_relations_by_sender ON event_relations (parent_id, sender, rel_type);

-- What relates to what as readers count it: children that were let into the room, and have not been redacted.
CREATE VIEW children AS
SELECT relation.parent_id, relation.rel_type, relation.room_nid, relation.child_type, relation.sender,
    child.event_id, child.position, child.backfill_rank, child.origin_server_ts, child.state_key IS NOT NULL AS is_state
FROM event_relations AS relation JOIN events AS child ON child.event_nid = relation.child_nid
WHERE child.position IS NOT NULL AND NOT child.rejected AND NOT child.soft_failed AND child.redacted_because IS NULL;
