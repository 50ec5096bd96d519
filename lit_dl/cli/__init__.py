"""The `lit-dl` command line."""
