-- schema: 20261123_1610
-- Insert the only row of the counter, from which events take their revision. A data step may run twice, since a separate
-- transaction marks it as applied. So insert the row only if it is missing, and never change a counter in use.

INSERT INTO event_counter (id, revision)
SELECT 1, 0
WHERE NOT EXISTS (SELECT 1 FROM event_counter WHERE id = 1);
