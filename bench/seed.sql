-- What every store holds before it is measured, in statements that both databases understand: students, courses, and
-- enrollments with their events and request ids. All count from 0; enrollment i is that of student i / each in course
-- i modulo courses, so the first students have that many courses each and every course has equally many students.

INSERT INTO students (student_id, given_name, family_name, email, state, max_credits, holds, version, create_time,
                      update_time, search_text)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :students)
SELECT 'S-' || i, 'Ada', 'Byron ' || i, 'ada.' || i || '@example.edu', 'ACTIVE', 18000, '[]', 1, :now, :now,
       'ada byron ' || i || ' ada.' || i || '@example.edu'
  FROM numbers;

INSERT INTO courses (course_id, code, title, description, term, credits, capacity, meetings, prerequisite_course_ids,
                     state, version, create_time, update_time, search_text, enrolled_count, waitlisted_count,
                     last_number)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :courses)
SELECT 'C-' || i, 'CS ' || i, 'Introduction to Computing ' || i,
       'What can be computed, and how. Programs, data, cost, proof. Weekly exercises, one project, a written exam.',
       '2026-fall', 3000, :capacity, '[[[1,3,5],36000,39000,"2026-09-01","2026-12-18","Hall 1"]]', '[]', 'OPEN', 1,
       :now, :now, 'cs ' || i || ' introduction to computing ' || i, :stored / :courses, 0, :stored / :courses
  FROM numbers;

INSERT INTO courses (course_id, code, title, description, term, credits, capacity, meetings, prerequisite_course_ids,
                     state, version, create_time, update_time, search_text, enrolled_count, waitlisted_count,
                     last_number)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :hot_courses)
SELECT 'HOT-' || i, 'CS ' || i, 'Introduction to Computing ' || i,
       'What can be computed, and how. Programs, data, cost, proof. Weekly exercises, one project, a written exam.',
       '2026-fall', 3000, :capacity, '[[[1,3,5],36000,39000,"2026-09-01","2026-12-18","Hall 1"]]', '[]', 'OPEN', 1,
       :now, :now, 'cs ' || i || ' introduction to computing ' || i, 0, 0, 0
  FROM numbers;

INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade, bypassed_rules, reason,
                         version, create_time, update_time)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT 'C-' || (i % :courses), '01900000-0000-7000-8000-' || (100000000000 + i), 'S-' || (i / :each),
       i / :courses + 1, 1, 'ENROLLED', '', '[]', '', 1, :now, :now
  FROM numbers;

INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state, previous_state,
                    capacity, enrolled_count, reason, comment, bypassed_rules, changes, request_id)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT 'C-' || (i % :courses), i + 1, '01900000-0000-7000-9000-' || (100000000000 + i), 'STUDENT_ENROLLED', :now,
       '', 'S-' || (i / :each), '01900000-0000-7000-8000-' || (100000000000 + i), 'ENROLLED', '', :capacity,
       i / :courses + 1, '', '', '[]', '[]', '01900000-0000-4000-8000-' || (100000000000 + i)
  FROM numbers;

INSERT INTO request_ids (caller, request_id, fingerprint, response, create_time)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT '', '01900000-0000-4000-8000-' || (100000000000 + i), :fingerprint, :response, :now
  FROM numbers;

UPDATE event_counter SET revision = :stored;
