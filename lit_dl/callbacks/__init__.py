"""What watches a run: one callback a file."""
