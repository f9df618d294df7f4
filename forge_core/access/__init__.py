"""Who may come in over HTTP: tokens with a scope and an end."""
