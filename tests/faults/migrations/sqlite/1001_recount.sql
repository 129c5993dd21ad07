-- A migration that is fast on an empty database, and slow or impossible on one with certain guests.
CREATE TABLE counted AS
WITH RECURSIVE counting (number) AS (
    SELECT 1
    UNION ALL
    SELECT number + 1 FROM counting
    -- Takes minutes if there is a guest of this name.
    WHERE number < (
        SELECT CASE count(*) WHEN 0 THEN 1 ELSE 1000000000 END
        FROM guests WHERE name = 'slow'
    )
)
SELECT max(number) AS most FROM counting;

-- Fails if there is a guest of this name.
INSERT INTO guests SELECT * FROM guests WHERE name = 'twice';
