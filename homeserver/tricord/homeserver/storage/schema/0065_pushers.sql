-- Where users want to be notified when no client of theirs is open: at a push gateway, or in a browser by Web Push.
-- `position` is up to where that has been done, so that a restart neither forgets nor repeats a notification.
CREATE TABLE pushers (
    user_id text NOT NULL,
    app_id text NOT NULL,
    pushkey text NOT NULL,
    -- Whoever signs out does not want to be notified there any more.
    session_id bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    kind text NOT NULL,
    app_display_name text NOT NULL,
    device_display_name text NOT NULL,
    profile_tag text,
    lang text NOT NULL,
    data bytea NOT NULL,                    -- JSON
    pushkey_ts bigint NOT NULL,             -- in milliseconds
    position bigint NOT NULL,
    PRIMARY KEY (user_id, app_id, pushkey)
);

CREATE INDEX pushers_by_key ON pushers (app_id, pushkey);
CREATE INDEX pushers_by_session ON pushers (session_id);
