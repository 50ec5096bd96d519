"""Many runs: Optuna studies that drive Lightning runs on every device, lose none, and rank them."""
