-- Who has been greeted, how often, and when for the last time: in seconds since 1970.
CREATE TABLE guests (
    name TEXT PRIMARY KEY,
    times INTEGER NOT NULL,
    last_came INTEGER NOT NULL
) STRICT;
