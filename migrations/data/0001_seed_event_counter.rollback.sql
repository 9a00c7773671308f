DELETE FROM event_counter WHERE id = 1;
