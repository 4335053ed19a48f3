-- Keys of our sessions that somebody should have had when a message was sent: their server did not tell their devices,
-- or gave no one-time key of one. They are given once that is possible, from that message on.

CREATE TABLE owed_keys (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- Empty, as the key is: all devices of the user that turn out to be there.
    device_id TEXT NOT NULL,
    curve25519 TEXT NOT NULL,
    message_index INTEGER NOT NULL,
    owed_since_ms INTEGER NOT NULL,
    PRIMARY KEY (room_id, session_id, user_id, device_id, curve25519)
) WITHOUT ROWID;
CREATE INDEX owed_keys_by_user ON owed_keys (user_id);
CREATE INDEX owed_keys_by_time ON owed_keys (owed_since_ms);

-- The keys themselves: ratchets do not go back.
CREATE TABLE owed_session_keys (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    message_index INTEGER NOT NULL,
    shared_history INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (room_id, session_id, message_index)
) WITHOUT ROWID;

-- How often in a row the devices of a user were not told.
ALTER TABLE tracked_users ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
