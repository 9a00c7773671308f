UPDATE events SET waitlisted_count = NULL, enrollment_version = NULL;
