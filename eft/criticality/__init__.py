"""Where K, χ∥ and χ⊥ stay put: critical points, fixed points, phases."""
