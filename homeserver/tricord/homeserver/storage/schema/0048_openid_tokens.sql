-- What users show to other services, which ask us whose it is. It opens nothing here.
CREATE TABLE openid_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    expires_ts bigint NOT NULL
);

CREATE INDEX openid_tokens_by_expiry ON openid_tokens (expires_ts);
CREATE INDEX openid_tokens_by_user ON openid_tokens (user_id);
