-- Every number but the last must be that of the calls that changed something: each enrolled, waitlisted or dropped a
-- student, and a drop changes an enrollment that another call has made. The last is that of courses that miscount.

SELECT (SELECT count(*) FROM request_ids),
       (SELECT count(*) FROM enrollments) + dropped,
       (SELECT sum(last_number) FROM courses) + dropped,
       (SELECT sum(enrolled_count + waitlisted_count) FROM courses) + 2 * dropped,
       (SELECT count(*) FROM events WHERE type IN ('STUDENT_ENROLLED', 'STUDENT_WAITLISTED', 'STUDENT_UNENROLLED')),
       (SELECT revision FROM event_counter) - (SELECT count(*) FROM events
         WHERE type NOT IN ('STUDENT_ENROLLED', 'STUDENT_WAITLISTED', 'STUDENT_UNENROLLED')),
       (SELECT count(*) FROM courses
         WHERE enrolled_count <> (SELECT count(*) FROM enrollments
                                   WHERE enrollments.course_id = courses.course_id AND enrollments.state = 'ENROLLED')
            OR waitlisted_count <> (SELECT count(*) FROM enrollments
                                     WHERE enrollments.course_id = courses.course_id AND enrollments.state = 'WAITLISTED'))
  FROM (SELECT count(*) AS dropped FROM enrollments WHERE state = 'DROPPED') AS drops
