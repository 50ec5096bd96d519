"""Stacks of networks of one shape, trained together: parameters and optimizer state have a leading member axis."""
