"""Proposals: types, payloads, tracks, lifecycle."""
