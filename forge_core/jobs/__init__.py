"""Durable jobs: record, claim, finish, derive, dead letters."""
