"""The worker process: claim a trial, run it, report it."""
