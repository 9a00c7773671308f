"""Who calls: credentials, the callers that they stand for, and what each role may do."""
