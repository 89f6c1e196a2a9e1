"""From theory to practice: how to initialize a network, how deep it may be, and which activation to use."""
