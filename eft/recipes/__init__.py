"""From theory to advice: how to initialize a network, how deep it may be, and at which rate to train it."""
