"""The database: connections, models, and the statements that run on them."""
