"""The run config: YAML, dotted keys, overlays, validation. Most of it needs no torch."""
