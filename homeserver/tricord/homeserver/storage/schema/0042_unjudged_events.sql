-- Member events that another server told of for a room that this one is not in: nobody here can say whether the rules
-- of the room let them be. They show users what they are told to be; for the room itself they count as not here, until
-- they come again with what vouches for them.
ALTER TABLE events ADD COLUMN unjudged boolean NOT NULL DEFAULT false;
