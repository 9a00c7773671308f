-- schema: 20261123_1610
-- The one row from which events take their revision. A data step may run twice (it is marked as applied in a
-- transaction of its own), so the row is added only where it is missing, and a counter in use is left alone.

INSERT INTO event_counter (id, revision)
SELECT 1, 0
WHERE NOT EXISTS (SELECT 1 FROM event_counter WHERE id = 1);
