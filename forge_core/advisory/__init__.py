"""Advice on proposals, beside the ballot: it informs voters, and no rule that decides reads it."""
