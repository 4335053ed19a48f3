-- With which headers a store gives bytes to whom it is asked by directly: those of who brought the bytes first. Whoever
-- wants them under others is given them by the server.

ALTER TABLE media_blobs ADD COLUMN content_type text, ADD COLUMN content_disposition text;
