-- Small images of large ones, kept because making them costs more than keeping them.

CREATE TABLE media_thumbnails (
    -- The digest of the original; or, of media elsewhere that has not been fetched itself, that of its URI.
    source       bytea NOT NULL,
    width        integer NOT NULL,
    height       integer NOT NULL,
    method       text NOT NULL,
    animated     boolean NOT NULL,
    -- NULL: the original is small enough to be given itself.
    digest       bytea REFERENCES media_blobs,
    size         bigint NOT NULL,
    content_type text NOT NULL,
    created_ts   bigint NOT NULL,
    -- Made by the server that the original is from.
    from_elsewhere boolean NOT NULL,
    PRIMARY KEY (source, width, height, method, animated)
);

CREATE INDEX media_thumbnails_by_digest ON media_thumbnails (digest) WHERE digest IS NOT NULL;
CREATE INDEX media_thumbnails_from_elsewhere ON media_thumbnails (created_ts) WHERE from_elsewhere;
