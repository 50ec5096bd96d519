"""One training run: Trainer, checkpoints, resume, result."""
