"""The treasury and the accounts it pays."""
