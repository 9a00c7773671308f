-- The rows of every store before it is measured, in statements that both databases accept: students, courses, and
-- enrollments with their events and request ids. All numbers start at 0. Enrollment i belongs to student i / each and
-- course i modulo courses, so the first students have ``each`` courses, and all courses have equally many students.
-- Every rule has data to check: students have a credit limit and courses have meetings. The courses of one student in 20
-- rounds stay within the limit and do not overlap. Each round has its own hot courses, for single calls and for batches,
-- and its own course with few seats and a waitlist. All rows have their events, as if the server had written them.

INSERT INTO students (student_id, given_name, family_name, email, state, max_credits, holds, version, create_time,
                      update_time, search_text, hold_keys, sort_name, keys_version)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :students)
SELECT 'S-' || i, 'Ada', 'Byron ' || i, 'ada.' || i || '@example.edu', 'ACTIVE', 600000, '[]', 1, :now, :now,
       's-' || i || ' ada byron ' || i || ' ada.' || i || '@example.edu', '[]', 'byron ' || i || '  ada', 1
  FROM numbers;

INSERT INTO courses (course_id, code, title, description, term, credits, capacity, meetings, prerequisite_course_ids,
                     state, version, create_time, update_time, search_text, enrolled_count, waitlisted_count,
                     last_number, code_key, term_key, component_key, keys_version)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :courses)
SELECT 'C-' || i, 'CS ' || i, 'Introduction to Computing ' || i,
       'What can be computed, and how. Programs, data, cost, proof. Weekly exercises, one project, a written exam.',
       '2026-fall', 3000, :capacity,
       ('[[[' || (1 + i % 5) || '],' || (28800 + i / 5 % 12 * 3600) || ',' || (31800 + i / 5 % 12 * 3600) ||
       ',"2026-09-01","2026-12-18","Hall 1"]]') /* document */, '[]', 'OPEN', 1,
       :now, :now, 'cs' || i || ' c-' || i || ' cs ' || i || ' introduction to computing ' || i,
       :stored / :courses, 0, :stored / :courses, 'cs' || i, '2026-fall', '', 1
  FROM numbers;

INSERT INTO courses (course_id, code, title, description, term, credits, capacity, waitlist_capacity, meetings,
                     prerequisite_course_ids, state, version, create_time, update_time, search_text, enrolled_count,
                     waitlisted_count, last_number, code_key, term_key, component_key, keys_version)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :rounds),
kinds(prefix, seats, places, earliest) AS (
    SELECT 'HOT-', :capacity, NULL, 28800 UNION ALL SELECT 'WAIT-', :seats, :places, 0
     UNION ALL SELECT 'BATCH-', :capacity, NULL, 43200)
SELECT prefix || i, prefix || i, 'Introduction to Computing ' || i,
       'What can be computed, and how. Programs, data, cost, proof. Weekly exercises, one project, a written exam.',
       '2026-fall', 3000, seats, places,
       ('[[[' || (6 + i % 2) || '],' || (earliest + i / 2 * 900) || ',' || (earliest + 600 + i / 2 * 900) ||
       ',"2026-09-01","2026-12-18","Hall 1"]]') /* document */, '[]', 'OPEN', 1,
       :now, :now, lower(prefix || i || ' ' || prefix || i || ' ' || prefix || i) || ' introduction to computing ' || i,
       0, 0, 0, lower(prefix || i), '2026-fall', '', 1
  FROM numbers, kinds;

INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade, bypassed_rules, reason,
                         version, create_time, update_time, last_skip)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT 'C-' || (i % :courses), '01900000-0000-7000-8000-' || (100000000000 + i), 'S-' || (i / :each),
       i / :courses + 1, 1, 'ENROLLED', '', '[]', '', 1, :now, :now, '[]'
  FROM numbers;

INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state, previous_state,
                    reason, comment, bypassed_rules, changes, request_id, grade, violations)
SELECT '', row_number() OVER (ORDER BY student_id), 'created-' || student_id, 'STUDENT_CREATED', :now, '', student_id, '',
       '', '', '', '', '[]', '[]', '', '', '[]'
  FROM students;

INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state, previous_state,
                    capacity, enrolled_count, waitlisted_count, reason, comment, bypassed_rules, changes, request_id,
                    grade, violations)
SELECT course_id, :students + row_number() OVER (ORDER BY course_id), 'created-' || course_id, 'COURSE_CREATED', :now, '',
       '', '', '', '', capacity, 0, 0, '', '', '[]', '[]', '', '', '[]'
  FROM courses;

INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state, previous_state,
                    capacity, enrolled_count, waitlisted_count, enrollment_version, reason, comment, bypassed_rules,
                    changes, request_id, grade, violations)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT 'C-' || (i % :courses), i + 1 + :students + :courses + 3 * :rounds,
       '01900000-0000-7000-9000-' || (100000000000 + i), 'STUDENT_ENROLLED', :now, '', 'S-' || (i / :each),
       '01900000-0000-7000-8000-' || (100000000000 + i), 'ENROLLED', '', :capacity, i / :courses + 1, 0, 1, '', '', '[]',
       '[]', '01900000-0000-4000-8000-' || (100000000000 + i), '', '[]'
  FROM numbers;

INSERT INTO request_ids (caller, request_id, fingerprint, response, create_time)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :stored)
SELECT '', '01900000-0000-4000-8000-' || (100000000000 + i), :fingerprint, :response, :now
  FROM numbers;

UPDATE event_counter SET revision = 0 + :students + :courses + 3 * :rounds + :stored;
