-- Whose database this is. A server started on it under another name would take its people for strangers, and make
-- accounts and rooms that nobody finds again.
CREATE TABLE server_name (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    name text NOT NULL
);
