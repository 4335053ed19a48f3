-- Walks that nobody goes on with are dropped by whoever makes another one, whoever made them.

CREATE INDEX hierarchy_walks_by_age ON hierarchy_walks (created_ts);
