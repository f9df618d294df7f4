"""What a proposal can do: one module for each kind of action, and the list of them."""
