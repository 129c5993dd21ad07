-- A migration that gets on well with an empty database, and badly with one that was lived in.
CREATE TABLE counted AS
WITH RECURSIVE counting (number) AS (
    SELECT 1
    UNION ALL
    SELECT number + 1 FROM counting
    -- Takes minutes where there is a target of this name.
    WHERE number < (
        SELECT CASE count(*) WHEN 0 THEN 1 ELSE 1000000000 END
        FROM targets WHERE url = 'http://slow/'
    )
)
SELECT max(number) AS most FROM counting;

-- Fails where there is a target of this one.
INSERT INTO targets SELECT * FROM targets WHERE url = 'http://twice/';
