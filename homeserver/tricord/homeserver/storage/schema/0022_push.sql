-- Push rules: what a user has changed of the predefined ones, and the rules of their own, as one document a user.
-- It is always read whole, and a write must see all of it to keep the order of the rules.

CREATE TABLE push_rules (
    user_id text PRIMARY KEY,
    changes bytea NOT NULL,           -- JSON: see push/rules.py
    position bigint NOT NULL          -- in the stream: m.push_rules is shown as account data
);
