-- Suspended users may read, and go, and do little else. Unlike locked ones they stay signed in.
ALTER TABLE accounts ADD COLUMN suspended boolean NOT NULL DEFAULT false;
