-- Backups of keys: of rooms' sessions, encrypted by the client, in versions of which the newest is written to.

CREATE TABLE key_backups (
    user_id text NOT NULL,
    version bigint NOT NULL,
    algorithm text NOT NULL,
    auth_data bytea NOT NULL,           -- JSON
    etag bigint NOT NULL DEFAULT 0,     -- goes up whenever a key changes
    count bigint NOT NULL DEFAULT 0,    -- of keys
    is_deleted boolean NOT NULL DEFAULT false, -- the row stays: no version is ever given again
    PRIMARY KEY (user_id, version)
);

CREATE TABLE backed_up_keys (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    is_verified boolean NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    session_data bytea NOT NULL,        -- JSON
    PRIMARY KEY (user_id, version, room_id, session_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backups ON DELETE CASCADE
);
