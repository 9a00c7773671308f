-- One EnrollStudent as one transaction, for pgbench: the same durable rows, the same locks in the same order, the same
-- lookups. The bench passes the variables: the students (first, clients), the courses (prefix, base, offset, courses),
-- and a run name that makes the request ids unique.
--
-- The event counter is updated last, since all transactions wait for it. Ids are computed without a round trip; ids of
-- enrollments and events begin with the time, as the server's do.

\set counter :counter + 1
\set number :first + :client_id + :counter * :clients
\set course :base + (:number + :offset) % :courses

BEGIN;

SELECT capacity, enrolled_count, state, delete_time FROM courses
 WHERE course_id = :prefix::text || :course::text FOR NO KEY UPDATE;

SELECT state, max_credits, delete_time FROM students
 WHERE student_id = 'S-' || :number::text FOR NO KEY UPDATE;

SELECT enrollment_id, attempt, state FROM enrollments
 WHERE student_id = 'S-' || :number::text AND course_id = :prefix::text || :course::text;

SELECT fingerprint, response FROM request_ids
 WHERE caller = '' AND request_id = md5(:run::text || :number::text)::uuid::text;

UPDATE courses SET enrolled_count = enrolled_count + 1, last_number = last_number + 1
 WHERE course_id = :prefix::text || :course::text
RETURNING last_number, capacity, enrolled_count, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now \gset

INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade, bypassed_rules, reason,
                         version, create_time, update_time, last_skip)
VALUES (:prefix::text || :course::text,
        to_hex(:now::bigint / 1000) || substr(md5(:run::text || :number::text)::uuid::text, 12),
        'S-' || :number::text, :last_number, 1, 'ENROLLED', '', '[]', '', 1, :now, :now, '[]');

INSERT INTO request_ids (caller, request_id, fingerprint, response, create_time)
VALUES ('', md5(:run::text || :number::text)::uuid::text,
        decode(repeat('ab', 32), 'hex'), decode(repeat('cd', :response_size::int), 'hex'), :now);

UPDATE event_counter SET revision = revision + 1 WHERE id = 1 RETURNING revision \gset

INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state, previous_state,
                    capacity, enrolled_count, waitlisted_count, enrollment_version, reason, comment, bypassed_rules,
                    changes, request_id, grade, violations)
VALUES (:prefix::text || :course::text, :revision,
        to_hex(:now::bigint / 1000) || substr(md5(:number::text || :run::text)::uuid::text, 12),
        'STUDENT_ENROLLED', :now, '', 'S-' || :number::text,
        to_hex(:now::bigint / 1000) || substr(md5(:run::text || :number::text)::uuid::text, 12),
        'ENROLLED', '', :capacity, :enrolled_count, 0, 1, '', '', '[]', '[]',
        md5(:run::text || :number::text)::uuid::text, '', '[]');

COMMIT;
