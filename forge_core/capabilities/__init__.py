"""Declarations of what may change, and the present values."""
