-- How far the completion of a room has got, for those who run the server: events that are here, of those that were told.
ALTER TABLE partial_rooms ADD COLUMN fetched integer NOT NULL DEFAULT 0;
ALTER TABLE partial_rooms ADD COLUMN expected integer NOT NULL DEFAULT 0;
