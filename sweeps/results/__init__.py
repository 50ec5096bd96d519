"""Results of finished trials: one typed record a trial, their files, and the ranking. Loads no torch and no optuna."""
