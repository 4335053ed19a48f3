-- What users reported, for those who run the server.
--
-- Rooms and users are named as they were reported, whether they are known here or not: that is nothing to the reporter,
-- and the operator sees it. Of an event its content is kept, since it may be redacted once somebody looks at it.

CREATE TABLE reports (
    report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reported_ts bigint NOT NULL,
    reporter text NOT NULL,
    about_user text,                          -- of an event, its sender
    room_id text,
    event_id text,
    event_json bytea,
    reason text NOT NULL,
    closed_ts bigint
);
