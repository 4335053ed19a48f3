-- Whose turn it is with what keeps order among media: of several processes one sweeps, and one goes through the store
-- to find what no row knows. Who has the turn puts off when it is due; who is killed is followed then.
--
-- Of bytes that are doomed, `media_blobs.claimed_ts` says since when somebody has been deleting them: nobody else does
-- meanwhile, since a deletion that arrives late would hit bytes that have been brought again.

CREATE TABLE media_upkeep (
    job    text PRIMARY KEY,
    due_ts bigint NOT NULL DEFAULT 0,
    -- How far it has come: what is named like this, or before it, is done.
    place  bytea NOT NULL DEFAULT ''
);

INSERT INTO media_upkeep (job) VALUES ('sweep'), ('store');
