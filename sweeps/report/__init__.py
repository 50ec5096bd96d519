"""The HTML report of a sweep, and the comparison of its results with published ones."""
