"""The sweep spec, its search space, and the checks before trial 0."""
