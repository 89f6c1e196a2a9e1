"""Theory and experiment, layer by layer."""
