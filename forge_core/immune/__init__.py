"""The immune system: what the overlay runtime's events mean, and why."""
