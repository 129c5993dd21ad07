-- Whether each target is up, as its latest result has it, and what was announced of that. It belongs to the
-- schedule for the same reason as results do. Times are in milliseconds since 1970.
CREATE TABLE states (
    target_id BIGINT PRIMARY KEY REFERENCES schedule (target_id) ON DELETE CASCADE,
    is_up BOOLEAN NOT NULL,
    -- Since when, and why, if it is down.
    turned_at BIGINT NOT NULL,
    reason TEXT,
    -- Nothing, until something was announced.
    announced BOOLEAN
);

-- What is not announced yet: nearly nothing.
CREATE INDEX states_unannounced ON states (turned_at) WHERE announced IS DISTINCT FROM is_up;

-- What was announced. A change outlives its target, so that no number is missing between two others.
CREATE TABLE changes (
    id BIGINT PRIMARY KEY,
    target_id BIGINT NOT NULL,
    is_up BOOLEAN NOT NULL,
    turned_at BIGINT NOT NULL,
    reason TEXT
);

-- The number of the newest change, in one row. Whoever announces holds that row until the commit, so that
-- changes become visible in the order of their numbers.
CREATE TABLE newest_change (
    id BIGINT NOT NULL
);

INSERT INTO newest_change (id) VALUES (0);
