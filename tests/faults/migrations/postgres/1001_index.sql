-- no-transaction
CREATE INDEX CONCURRENTLY guests_times ON guests (times);
