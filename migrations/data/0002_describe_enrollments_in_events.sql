-- schema: 20261124_2345
-- Before this schema no student was ever waitlisted, and each event of an enrollment added one version. The step is
-- idempotent: it computes the same numbers again, and sets them only where they are missing. A downgrade loses what
-- events state about waitlists and grades, and a later upgrade cannot restore it.

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
