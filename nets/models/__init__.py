"""What the theory does for a user's own network."""
