-- Walks through spaces that clients have seen a page of: where to go on, whichever process is asked for the next one.
--
-- A row is written with each page and never changed, so that a page can be asked for again. Rows are dropped after a while.

CREATE TABLE hierarchy_walks (
    token text PRIMARY KEY,
    user_id text NOT NULL,
    created_ts bigint NOT NULL,
    walk bytea NOT NULL                       -- JSON, see rooms/hierarchy.py
);

CREATE INDEX hierarchy_walks_by_user ON hierarchy_walks (user_id, created_ts);
