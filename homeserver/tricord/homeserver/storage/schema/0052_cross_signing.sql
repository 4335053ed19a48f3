-- The keys with which users vouch for their devices and for each other, and the signatures that came after the keys.

CREATE TABLE cross_signing_keys (
    user_id text NOT NULL,
    usage text NOT NULL,      -- master, self_signing, user_signing
    public_key text NOT NULL, -- which is also the key's name
    key bytea NOT NULL,       -- JSON as it was uploaded, with its members in order
    PRIMARY KEY (user_id, usage)
);

CREATE TABLE key_signatures (
    user_id text NOT NULL,    -- whose device or master key is signed
    name text NOT NULL,       -- which: a device id, or a public key
    signer text NOT NULL,
    key_id text NOT NULL,     -- with which of the signer's keys
    signature text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, name, signer, key_id)
);

-- Whoever has signed another's key looks at it again, on all devices.
CREATE INDEX key_signatures_by_signer ON key_signatures (signer, position);
