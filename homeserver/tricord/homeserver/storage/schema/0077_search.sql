-- The index of what can be searched: messages, and the names and topics of rooms. It is written behind the log, by a
-- reader that notes how far it has got, so that nobody who sends waits for it.
--
-- `words` holds, beside the words, marks of the room and of the kind of text (see search/lexemes.py): so that one look
-- into the index finds a word in some rooms, without an extension of PostgreSQL.

CREATE TABLE search_index (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    position bigint NOT NULL,
    backfill_rank integer NOT NULL,
    sender text NOT NULL,
    edit_nid bigint,                          -- the event that the words are from, if that is an edit
    words tsvector NOT NULL
);

CREATE INDEX search_index_words ON search_index USING gin (words);
CREATE INDEX search_index_edits ON search_index (edit_nid) WHERE edit_nid IS NOT NULL;

-- How far the log has been read.
CREATE TABLE search_progress (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);

INSERT INTO search_progress (position) VALUES (0);

-- What the reader would miss: history that was fetched later, and stands before what it has read.
CREATE TABLE search_queue (
    event_nid bigint PRIMARY KEY
);

INSERT INTO search_queue (event_nid)
SELECT event_nid FROM events
WHERE backfill_rank < 0 AND type IN ('m.room.message', 'm.room.name', 'm.room.topic', 'm.room.redaction');

-- What the reader reads. It costs the writer nothing for other events, those of encrypted rooms for one.
CREATE INDEX events_to_search ON events (position)
WHERE backfill_rank = 0 AND type IN ('m.room.message', 'm.room.name', 'm.room.topic', 'm.room.redaction');
