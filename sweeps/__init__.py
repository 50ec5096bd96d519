"""Hyperparameter sweeps: Optuna studies of Lightning runs on all devices, with retries, pruning and a ranking."""
