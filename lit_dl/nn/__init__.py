"""Networks and their parts: layers, activations, initializers, losses, regularizers."""
