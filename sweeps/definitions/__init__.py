"""How other processes find the classes and functions that a script or a notebook defines itself."""
