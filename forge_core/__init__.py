"""The domain: rules, tables and use cases. Knows SQLAlchemy, knows no Celery and no broker."""
