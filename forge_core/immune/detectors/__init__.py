"""Rules that find something: each a pure function from what was counted to a finding."""
