"""What is asked of a sweep: the spec, its search space, and the checks before trial 0."""
