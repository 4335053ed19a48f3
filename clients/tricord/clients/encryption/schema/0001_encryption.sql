-- What a device must not forget: its own keys, what it knows of others', and the sessions between them.
-- Columns named `sealed` are encrypted with the store's data key, and bound to their row.

CREATE TABLE stored_values (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Cross-signing keys, the key of the backup, and the like.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) WITHOUT ROWID;

-- Users whose devices we follow. The list is out of date while `changes` is ahead of `queried`: a change that comes
-- while a query is under way is not lost.
CREATE TABLE tracked_users (
    user_id TEXT PRIMARY KEY,
    changes INTEGER NOT NULL,
    queried INTEGER NOT NULL,
    -- When to ask again, if the user's server did not answer.
    retry_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- A device that is gone is kept, to know who sent what it sent.
CREATE TABLE devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    curve25519 TEXT NOT NULL,
    ed25519 TEXT NOT NULL,
    keys TEXT NOT NULL,
    trust TEXT NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;
CREATE INDEX devices_by_key ON devices (curve25519);

CREATE TABLE identities (
    user_id TEXT PRIMARY KEY,
    master_key TEXT NOT NULL,
    self_signing_key TEXT NOT NULL,
    user_signing_key TEXT,
    -- The master key we saw first, or have since been told to accept; another one is a violation until then.
    pinned TEXT NOT NULL,
    -- The master key that was verified.
    verified TEXT
) WITHOUT ROWID;

CREATE TABLE olm_sessions (
    sender_key TEXT NOT NULL,
    session_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    -- Of the sessions with a device, the higher has decrypted something, or was made, later.
    used INTEGER NOT NULL,
    PRIMARY KEY (sender_key, session_id)
) WITHOUT ROWID;

-- What went wrong between us and a device, by its key.
CREATE TABLE olm_troubles (
    sender_key TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- A new session is wanted, and the other side is to be told by an m.dummy.
    session_wanted INTEGER NOT NULL,
    renewed_at_ms INTEGER NOT NULL,
    -- No one-time key was to be had: when to ask again, and whether the device was told.
    claim_after_ms INTEGER NOT NULL,
    claims_failed INTEGER NOT NULL,
    told_no_olm INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages to devices that wait for an Olm session with them.
CREATE TABLE waiting_messages (
    number INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    put_at_ms INTEGER NOT NULL
);

-- Olm messages that were taken in: a sync may bring them again.
CREATE TABLE olm_messages_seen (
    hash BLOB PRIMARY KEY,
    seen_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX olm_messages_seen_by_time ON olm_messages_seen (seen_at_ms);

CREATE TABLE room_keys (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    first_index INTEGER NOT NULL,
    -- The keys of the device that made the session. `user_id` is who sent it to us by Olm, NULL where only words say so.
    sender_key TEXT NOT NULL,
    ed25519 TEXT NOT NULL,
    user_id TEXT,
    origin TEXT NOT NULL,
    shared_history INTEGER NOT NULL,
    -- The curve25519 keys of those who passed it on, as JSON.
    forwarders TEXT NOT NULL,
    received_at_ms INTEGER NOT NULL,
    -- The version of the backup that has it.
    backed_up_in TEXT,
    PRIMARY KEY (room_id, session_id)
) WITHOUT ROWID;
CREATE INDEX room_keys_by_backup ON room_keys (backed_up_in);

-- Which event had which index: the same one again with another event is a replay.
CREATE TABLE message_indices (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    message_index INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (room_id, session_id, message_index)
) WITHOUT ROWID;

-- The session that we encrypt with, one a room.
CREATE TABLE own_sessions (
    room_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    shared_history INTEGER NOT NULL,
    -- Until then everybody who is to have the key has it, as far as we know; 0: somebody may lack it.
    ready_until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Which devices were given the key of our session, from which index on; or why they were not.
CREATE TABLE shares (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    curve25519 TEXT NOT NULL,
    message_index INTEGER NOT NULL,
    withheld TEXT,
    PRIMARY KEY (room_id, session_id, user_id, device_id)
) WITHOUT ROWID;

-- Keys that others did not give us, and why. An empty session id: all of that device's.
CREATE TABLE withheld_keys (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    received_at_ms INTEGER NOT NULL,
    PRIMARY KEY (room_id, session_id, user_id)
) WITHOUT ROWID;
-- Bounded by user and by age: anybody may say anything of any key.
CREATE INDEX withheld_keys_by_user ON withheld_keys (user_id, received_at_ms);
CREATE INDEX withheld_keys_by_time ON withheld_keys (received_at_ms);

CREATE TABLE key_requests (
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    request_id TEXT NOT NULL UNIQUE,
    -- The devices of our own that were asked, as JSON.
    asked TEXT NOT NULL,
    asked_at_ms INTEGER NOT NULL,
    PRIMARY KEY (room_id, session_id)
) WITHOUT ROWID;

CREATE TABLE rooms (
    room_id TEXT PRIMARY KEY,
    -- Once it is one that we know it stays: nothing that the homeserver says later turns encryption off.
    algorithm TEXT NOT NULL,
    rotation_ms INTEGER NOT NULL,
    rotation_messages INTEGER NOT NULL,
    history_visibility TEXT NOT NULL,
    -- Whether all members are known.
    complete INTEGER NOT NULL
) WITHOUT ROWID;

-- Of encrypted rooms: who is joined or invited.
CREATE TABLE members (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user_id);

-- Requests that must reach the homeserver, exactly as they are: what they carry cannot be made a second time.
CREATE TABLE pending_requests (
    number INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    -- The room whose messages wait for it.
    room_id TEXT,
    attempts INTEGER NOT NULL
);
CREATE INDEX pending_requests_by_room ON pending_requests (room_id);

-- Events whose key has not come yet: when it comes they are given again.
CREATE TABLE waiting_events (
    number INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    message_index INTEGER NOT NULL,
    event TEXT NOT NULL,
    UNIQUE (room_id, event_id)
);
CREATE INDEX waiting_events_by_session ON waiting_events (room_id, session_id);
