-- schema: 20261124_2345
-- Before this schema nobody ever waited, and every event of an enrollment was one change of it. A data step may run
-- twice, and is harmless then: it gives the same numbers again, and only where there are none. Going down to an earlier
-- schema loses what the history told of waiting and of grades, and coming up again cannot bring it back.

UPDATE events SET waitlisted_count = 0
WHERE course_id <> '' AND waitlisted_count IS NULL;

WITH numbered AS (
    SELECT course_id, revision, row_number() OVER (PARTITION BY course_id, enrollment_id ORDER BY revision) AS version
    FROM events WHERE enrollment_id <> '' AND type <> 'PROMOTION_SKIPPED'
)
UPDATE events SET enrollment_version = numbered.version
FROM numbered
WHERE events.course_id = numbered.course_id AND events.revision = numbered.revision
  AND events.enrollment_version IS NULL;
