"""LightningModules built from configuration."""
