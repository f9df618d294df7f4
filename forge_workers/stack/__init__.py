"""The embedded stack: every server and process of the house, under one directory."""
