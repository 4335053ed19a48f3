-- What pages on the web say of themselves, remembered so that a page is asked once for all who see a link to it.

CREATE TABLE url_previews (
    -- SHA-256 of the URL, which may be long.
    url_digest bytea PRIMARY KEY,
    -- The answer to clients, as JSON.
    answer     bytea NOT NULL,
    -- The image in it, as media of this server.
    image_id   text,
    fetched_ts bigint NOT NULL
);

CREATE INDEX url_previews_by_age ON url_previews (fetched_ts);
