"""Everything that runs: the Celery application, its tasks, the client, the stack, the CLI."""
