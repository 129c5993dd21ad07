-- When each target is to be checked next, and until when somebody is about to do that. Times are in
-- milliseconds since 1970.
CREATE TABLE schedule (
    target_id INTEGER PRIMARY KEY REFERENCES targets (id) ON DELETE CASCADE,
    due_at INTEGER NOT NULL,
    leased_until INTEGER NOT NULL DEFAULT 0,
    -- The interval by which it was told when that is.
    interval_seconds INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX schedule_due_at ON schedule (due_at);

-- What became of it: one result for each time that a check was due. It belongs to the schedule rather than
-- to the target, so that whoever writes results needs no lock that whoever removes a target has.
CREATE TABLE checks (
    target_id INTEGER NOT NULL REFERENCES schedule (target_id) ON DELETE CASCADE,
    due_at INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    -- Nothing, if it was up.
    reason TEXT,
    status INTEGER,
    latency_ms INTEGER NOT NULL,
    PRIMARY KEY (target_id, due_at)
) STRICT;

-- In this order the old ones are removed, and summaries go through them, so many at once.
CREATE INDEX checks_due_at ON checks (due_at, target_id);
