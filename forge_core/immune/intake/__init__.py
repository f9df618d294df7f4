"""From what the platform tells to rows: events, windows, summaries, and what to check."""
