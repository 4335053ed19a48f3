-- What people share: the media of this server and what it keeps of that of others, and the bytes behind them.
--
-- Bytes are kept once under the digest of what they are, in a store outside of the database. A row of `media_blobs`
-- goes after its bytes, so that none are ever forgotten: what no row of the other tables names for a while is swept away.
-- As a rule it is there before them, too; where it is not, a daily look through the store finds what was left.

CREATE TABLE media_blobs (
    -- SHA-256 of the bytes, and their name in the store.
    digest         bytea PRIMARY KEY,
    size           bigint NOT NULL,
    -- Since when somebody last brought these bytes, and may be about to name them.
    claimed_ts     bigint NOT NULL,
    -- The bytes are being deleted: who brings them again waits until the row is gone.
    doomed         boolean NOT NULL DEFAULT false,
    quarantined_by text
);

CREATE TABLE media (
    server_name       text NOT NULL,
    media_id          text NOT NULL,
    -- NULL: announced, and not uploaded yet.
    digest            bytea REFERENCES media_blobs,
    size              bigint NOT NULL DEFAULT 0,
    content_type      text NOT NULL DEFAULT 'application/octet-stream',
    file_name         text,
    -- Who uploaded it; NULL for that of other servers.
    uploader          text,
    created_ts        bigint NOT NULL,
    last_used_ts      bigint NOT NULL,
    -- Until when what was announced may be uploaded.
    expires_ts        bigint,
    -- Whether everybody may download it by the old endpoints, which ask for no token.
    needs_token       boolean NOT NULL,
    quarantined_by    text,
    PRIMARY KEY (server_name, media_id)
);

CREATE INDEX media_by_digest ON media (digest);
CREATE INDEX media_by_uploader ON media (uploader) INCLUDE (size) WHERE uploader IS NOT NULL;
CREATE INDEX media_by_last_use ON media (last_used_ts);
CREATE INDEX media_announced ON media (expires_ts) WHERE digest IS NULL AND expires_ts IS NOT NULL;
