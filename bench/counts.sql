-- Every number but the last must be the number of enrollments; the last is that of courses that miscount theirs.

SELECT (SELECT count(*) FROM enrollments WHERE state = 'ENROLLED'),
       (SELECT count(*) FROM events),
       (SELECT count(*) FROM request_ids),
       (SELECT revision FROM event_counter),
       (SELECT sum(enrolled_count) FROM courses),
       (SELECT sum(last_number) FROM courses),
       (SELECT count(*) FROM courses WHERE enrolled_count <>
           (SELECT count(*) FROM enrollments WHERE enrollments.course_id = courses.course_id))
