-- Messages from device to device, until the device that they are for has proved that it has them.
--
-- Every message has a position of its own in the queue of its device, in the order of sending.

CREATE TABLE to_device_messages (
    user_id text NOT NULL,
    device_id text NOT NULL,
    position bigint NOT NULL,
    message bytea NOT NULL, -- JSON, as the client is told it
    PRIMARY KEY (user_id, device_id, position),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- Requests that have been acted on, so that a repeated one is not: of clients, by a digest of user, device, type and
-- transaction id; of servers, of origin, sender and message id.
CREATE TABLE to_device_requests (
    digest bytea PRIMARY KEY,
    created_ts bigint NOT NULL
);

CREATE INDEX to_device_requests_by_age ON to_device_requests USING brin (created_ts);
