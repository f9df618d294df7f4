"""The same words wherever something is shown: in a terminal, or on a page."""
