-- Notices of those who run the server to its users: the room in which each user gets them, and what is still to be sent.

CREATE TABLE server_notice_rooms (
    user_id text PRIMARY KEY,
    room_id text NOT NULL
);

-- To one user, or to all; then `done_upto` says how far it has got, in the order of user ids. A lease keeps two
-- processes off one notice.
CREATE TABLE server_notices (
    notice_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text,                             -- NULL: everybody
    content bytea NOT NULL,                   -- of the message, JSON
    done_upto text NOT NULL DEFAULT '',
    leased_until_ts bigint NOT NULL DEFAULT 0
);
