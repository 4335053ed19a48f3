-- A device that nobody is signed in on: it takes messages in while its user has no other, and is opened by the next one.

CREATE TABLE dehydrated_devices (
    user_id text PRIMARY KEY,
    device_id text NOT NULL,
    device_data bytea NOT NULL, -- JSON: the device itself, encrypted by the client
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
