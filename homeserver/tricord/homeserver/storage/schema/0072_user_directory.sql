-- The user directory: names by which people are found, whoever may find them.
--
-- Who may find whom is decided by memberships and state when somebody searches. Local users are written where their
-- profile is; users of other servers are followed through their memberships, in the order of positions.

CREATE TABLE user_directory (
    user_id text PRIMARY KEY,
    is_local boolean NOT NULL,
    display_name text,
    avatar_url text
);

-- What a search may begin with. Compared byte by byte, so that a range of the index is a prefix.
CREATE TABLE user_directory_words (
    word text COLLATE "C" NOT NULL,
    user_id text NOT NULL REFERENCES user_directory ON DELETE CASCADE,
    PRIMARY KEY (word, user_id)
);

CREATE INDEX user_directory_words_by_user ON user_directory_words (user_id);

-- Memberships up to here have been followed. Many can have one position.
CREATE TABLE user_directory_place (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL,
    user_id text NOT NULL
);

INSERT INTO user_directory_place (position, user_id) VALUES (0, '');

CREATE INDEX room_memberships_by_change ON room_memberships (position, user_id);
