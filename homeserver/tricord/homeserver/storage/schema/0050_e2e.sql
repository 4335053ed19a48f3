-- Keys for end-to-end encryption: those of devices, and those that others claim to begin a session with one.
--
-- Keys are kept as the JSON that was uploaded, with its members in order: so the same key is the same bytes.

CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys bytea NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY, -- in the order of uploading, which is that of claiming
    -- NULL: it has been claimed. The row stays, so that a client that uploads the key once more does not have it given
    -- out twice.
    key bytea,
    digest bytea NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_id, device_id, algorithm, number) WHERE key IS NOT NULL;

-- What is given when there are no one-time keys left.
CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    used boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- When a key of a device was last claimed: it wants to know, and then uploads others. No foreign key: it would be
-- checked after the position is taken, and wait for who deletes the device, who waits for a position.
CREATE TABLE key_claims (
    user_id text NOT NULL,
    device_id text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- When the devices of a user, or their keys, last changed for others.
CREATE TABLE device_list_changes (
    user_id text PRIMARY KEY,
    position bigint NOT NULL
);

CREATE INDEX device_list_changes_by_position ON device_list_changes (position);
-- Who joined or left a room lately: that changes whose devices are followed.
CREATE INDEX room_memberships_by_since ON room_memberships (room_nid, since);
