-- How many are in each room, and invited: kept as memberships change, since counting them takes the longer the larger a
-- room is. By triggers, which see what each row was and became, whoever writes it and whatever others write meanwhile.

CREATE TABLE member_counts (
    room_nid bigint PRIMARY KEY,
    joined bigint NOT NULL,
    invited bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO member_counts
SELECT room_nid, count(*) FILTER (WHERE membership = 'join'), count(*) FILTER (WHERE membership = 'invite')
FROM room_memberships GROUP BY room_nid;

CREATE FUNCTION add_members(nid bigint, more_joined bigint, more_invited bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF more_joined <> 0 OR more_invited <> 0 THEN
        INSERT INTO member_counts AS c VALUES (nid, more_joined, more_invited)
        ON CONFLICT (room_nid) DO UPDATE SET joined = c.joined + more_joined, invited = c.invited + more_invited;
    END IF;
END $$;

CREATE FUNCTION count_new_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_members(
        room_nid, count(*) FILTER (WHERE membership = 'join'), count(*) FILTER (WHERE membership = 'invite')
    ) FROM became GROUP BY room_nid;
    RETURN NULL;
END $$;

CREATE FUNCTION count_former_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_members(
        room_nid, -count(*) FILTER (WHERE membership = 'join'), -count(*) FILTER (WHERE membership = 'invite')
    ) FROM were GROUP BY room_nid;
    RETURN NULL;
END $$;

CREATE FUNCTION count_changed_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_members(
        room_nid,
        coalesce(sum(n) FILTER (WHERE membership = 'join'), 0)::bigint,
        coalesce(sum(n) FILTER (WHERE membership = 'invite'), 0)::bigint
    ) FROM (
        SELECT room_nid, membership, 1 AS n FROM became UNION ALL SELECT room_nid, membership, -1 FROM were
    ) changes GROUP BY room_nid;
    RETURN NULL;
END $$;

CREATE TRIGGER room_memberships_count_new AFTER INSERT ON room_memberships
    REFERENCING NEW TABLE AS became FOR EACH STATEMENT EXECUTE FUNCTION count_new_members();
CREATE TRIGGER room_memberships_count_changed AFTER UPDATE ON room_memberships
    REFERENCING OLD TABLE AS were NEW TABLE AS became FOR EACH STATEMENT EXECUTE FUNCTION count_changed_members();
CREATE TRIGGER room_memberships_count_former AFTER DELETE ON room_memberships
    REFERENCING OLD TABLE AS were FOR EACH STATEMENT EXECUTE FUNCTION count_former_members();
