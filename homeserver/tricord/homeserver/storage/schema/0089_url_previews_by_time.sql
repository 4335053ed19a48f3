-- A page that is asked again leaves what it said before, until that is old: clients may have been told of its image, which
-- goes with its row. So two processes may ask a page at once, too, and each image has a row by which it goes.

ALTER TABLE url_previews DROP CONSTRAINT url_previews_pkey;
CREATE INDEX url_previews_by_url ON url_previews (url_digest, fetched_ts);
