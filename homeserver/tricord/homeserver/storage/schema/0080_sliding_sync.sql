-- What each connection of sliding sync has been told, so that it goes on where it was after a restart.
--
-- A row is written only when what is remembered of a room changes; that all rooms are told of up to a position is in
-- the token. The last few of a connection are kept: a client whose answer was lost goes on from the one before.

CREATE TABLE sliding_sync_told (
    session_id bigint NOT NULL,
    conn_id text NOT NULL,
    told_id bigint NOT NULL,                  -- at random; part of the token
    number bigint GENERATED ALWAYS AS IDENTITY,
    told bytea NOT NULL,                      -- see sync/sliding/told.py
    PRIMARY KEY (session_id, conn_id, told_id)
);

-- A session takes its connections along. No foreign key, which would be checked for every row that is written.
CREATE FUNCTION forget_sliding_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sliding_sync_told WHERE session_id = OLD.session_id;
    RETURN OLD;
END $$;
CREATE TRIGGER sessions_forget_sliding_sync BEFORE DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION forget_sliding_sync();
