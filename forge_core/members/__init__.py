"""Members, trust levels, electorate versions, roles, delegation."""
