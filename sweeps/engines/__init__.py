"""What places slots on devices."""
