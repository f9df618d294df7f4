"""What the design promises about speed and size, measured in one run: ``python -m benchmarks``."""
