-- Accounts, their devices, and what lets a device in.
--
-- A session is one sign-in of one device. Tokens are kept as SHA-256 only: who reads this table cannot sign in.
-- An access token and the refresh token given with it are one row, a token pair. A pair that came from a refresh
-- names the pair it replaces until it is first used; then the old pair goes. So "not yet used" needs no flag.

CREATE TABLE accounts (
    user_id text PRIMARY KEY,
    password_hash text,                     -- argon2id; NULL: no password opens this account
    is_admin boolean NOT NULL DEFAULT false,
    is_guest boolean NOT NULL DEFAULT false,
    user_type text,                         -- 'bot', 'support' or NULL
    created_ts bigint NOT NULL,             -- milliseconds since the epoch, as all …_ts
    locked boolean NOT NULL DEFAULT false,
    -- The row of a deactivated account stays, so that nobody can ever be given its user id again.
    deactivated boolean NOT NULL DEFAULT false,
    erased boolean NOT NULL DEFAULT false
);

CREATE TABLE devices (
    user_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    device_id text NOT NULL,
    display_name text,
    created_ts bigint NOT NULL,
    last_seen_ts bigint,
    last_seen_ip text,
    last_seen_user_agent text,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE sessions (
    session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    created_ts bigint NOT NULL,
    UNIQUE (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

CREATE TABLE token_pairs (
    pair_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    access_token_hash bytea NOT NULL UNIQUE,
    access_expires_ts bigint,               -- NULL: never
    refresh_token_hash bytea UNIQUE,        -- NULL: the client cannot refresh
    refresh_expires_ts bigint,              -- NULL: never
    replaces bigint REFERENCES token_pairs ON DELETE SET NULL
);

CREATE INDEX token_pairs_by_session ON token_pairs (session_id);
CREATE INDEX token_pairs_by_replaced ON token_pairs (replaces) WHERE replaces IS NOT NULL;

-- A signed-in client gave these to another one; each opens one session.
CREATE TABLE login_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    expires_ts bigint NOT NULL
);

-- Given out by the operator; each lets some people register.
CREATE TABLE registration_tokens (
    token text PRIMARY KEY,
    uses_allowed integer,                   -- NULL: any number
    uses integer NOT NULL DEFAULT 0,
    expires_ts bigint,                      -- NULL: never
    created_ts bigint NOT NULL
);

-- User-interactive authentication under way. Neither the session id nor any body is here: the request is remembered
-- as a MAC whose key is the session id, which only the client has. A password in the body cannot be guessed from it.
CREATE TABLE interactive_sessions (
    session_hash bytea PRIMARY KEY,
    request_mac bytea NOT NULL,
    completed text[] NOT NULL DEFAULT '{}',
    registration_token text,                -- the token that completed that stage
    expires_ts bigint NOT NULL
);

CREATE INDEX interactive_sessions_by_expiry ON interactive_sessions (expires_ts);
