"""Execution of approved proposals."""
