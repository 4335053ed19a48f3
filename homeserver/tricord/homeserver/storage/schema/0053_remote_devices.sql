-- Lists of devices across servers: what others were told of ours, and what is known of theirs.

-- Of local users: the last change that other servers were told of, to which the next one refers.
ALTER TABLE device_list_changes ADD COLUMN stream_id bigint NOT NULL DEFAULT 0;

-- Lists of users of other servers, kept while somebody here shares a room with them. Each is true only for rooms that
-- both have been in ever since `position`: there their server has told us of every change.
CREATE TABLE remote_device_lists (
    user_id text PRIMARY KEY,
    server_name text NOT NULL,
    stream_id bigint,                  -- the last change of which their server told; NULL: the list has never been fetched
    position bigint NOT NULL,          -- ours, before it was fetched
    master_key bytea,
    self_signing_key bytea,
    is_stale boolean NOT NULL,         -- something was missed: it has to be fetched
    marks bigint NOT NULL DEFAULT 0    -- how often that was found: who fetches it sees whether it was again meanwhile
);

CREATE INDEX remote_device_lists_stale ON remote_device_lists (server_name) WHERE is_stale;

CREATE TABLE remote_devices (
    user_id text NOT NULL REFERENCES remote_device_lists ON DELETE CASCADE,
    device_id text NOT NULL,
    display_name text,
    keys bytea NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Up to where servers that newly share a room with a local user have been told of the user's devices.
CREATE TABLE introductions (position bigint NOT NULL);
INSERT INTO introductions SELECT position FROM stream;
