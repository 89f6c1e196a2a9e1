"""Infinite width: the kernel of one, two and many inputs, layer by layer."""
