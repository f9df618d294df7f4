"""Entries: what happened, as canonical bytes, and the folds that make it so."""
