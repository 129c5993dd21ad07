-- A summary reads what was due within a time, so much at once, and goes on behind the last it has read.
DROP INDEX checks_due_at;
CREATE INDEX checks_due_at ON checks (due_at, target_id);
