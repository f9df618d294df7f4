"""The schema's history. Each version is SQL, read by Alembic in order."""
