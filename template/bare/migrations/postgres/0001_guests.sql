-- Who has been greeted, and how often.
CREATE TABLE guests (
    name TEXT PRIMARY KEY,
    times BIGINT NOT NULL
);
