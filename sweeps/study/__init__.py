"""The Optuna study that workers share: claims, storage, leases, recovery."""
