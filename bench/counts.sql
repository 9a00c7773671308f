-- A batch keeps an empty response under its own request id, beside the ids of its writes.
--
-- Each column except the last must equal the number of calls that changed the database. A call enrolls, waitlists or
-- drops one student; a drop changes the enrollment of an earlier call. The last column counts courses with wrong counters.

SELECT (SELECT count(*) FROM request_ids WHERE length(response) > 0),
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
