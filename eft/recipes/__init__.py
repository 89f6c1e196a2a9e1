"""From theory to practice: what to use, and how."""
