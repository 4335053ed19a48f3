-- The stream: one number that everything which sync shows takes its place in.
--
-- A transaction takes its positions from this row as late as it can, and holds the row's lock until COMMIT. So positions
-- become visible in their order: a reader that has seen position n has seen everything below it.

CREATE TABLE stream (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);

INSERT INTO stream (position) VALUES (0);
