"""Results of finished trials: a typed record, its files, and the ranking. Loads neither torch nor optuna."""
