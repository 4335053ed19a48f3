-- History is not only fetched from its end: a jump to a date fetches a part of its own, before which and after which
-- events may be missing. Each part has its own stretch of ranks (storage/history.py), for which 32 bits are few.

-- A view that shows the column keeps its type as it is; where migration 75 has run before this one, there is one.
DO $$
DECLARE
    children text := pg_get_viewdef(to_regclass('children'));
BEGIN
    DROP VIEW IF EXISTS children;
    ALTER TABLE events ALTER COLUMN backfill_rank TYPE bigint;
    IF children IS NOT NULL THEN
        EXECUTE 'CREATE VIEW children AS ' || children;
    END IF;
END $$;
