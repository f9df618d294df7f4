"""Inbox, ballots, tally, recount, closing."""
