"""Replaying real votings: their ballots go through the whole pipeline of a sandbox."""
