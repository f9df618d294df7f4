"""Asking a model: what it is shown, what it may answer, what it costs, and what becomes of it."""
