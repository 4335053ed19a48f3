-- What users keep on the server: account data (tags too), filters, and what they show of themselves.
-- JSON is kept as bytes: text and jsonb refuse NUL.

CREATE TABLE account_data (
    user_id text NOT NULL,
    room_id text NOT NULL,                  -- '' for what is not about a room
    type text NOT NULL,
    content bytea NOT NULL,
    position bigint NOT NULL,               -- in the stream
    PRIMARY KEY (user_id, room_id, type)
);

CREATE INDEX account_data_by_position ON account_data (user_id, position);

CREATE TABLE filters (
    user_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    filter_id integer NOT NULL,
    definition bytea NOT NULL,
    -- The same definition again is the same filter: clients upload theirs at every start.
    digest bytea NOT NULL,
    PRIMARY KEY (user_id, filter_id),
    UNIQUE (user_id, digest)
);

CREATE TABLE profile_fields (
    user_id text NOT NULL,
    field text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (user_id, field)
);
