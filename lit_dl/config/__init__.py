"""The run config: YAML, dotted keys, overlays, errors. Imports neither torch nor the parser."""
