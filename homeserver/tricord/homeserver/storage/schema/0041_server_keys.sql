-- What other servers are known by, and what they have been answered.

-- The keys of servers, as they last published them: the document as they signed it, and all keys that it or an earlier
-- one told of, so that old events can still be verified.
CREATE TABLE server_keys (
    server_name text PRIMARY KEY,
    valid_until_ts bigint NOT NULL,
    fetched_ts bigint NOT NULL,
    document bytea NOT NULL,
    keys bytea NOT NULL                       -- JSON: by key id, the key in base64 and until when it is valid
);

-- Transactions of other servers that have been answered, so that a repeated one gets the same answer.
CREATE TABLE incoming_transactions (
    origin text NOT NULL,
    transaction_id text NOT NULL,
    answer bytea NOT NULL,
    received_ts bigint NOT NULL,
    PRIMARY KEY (origin, transaction_id)
);

CREATE INDEX incoming_transactions_by_age ON incoming_transactions USING brin (received_ts);
