"""Every test runs in float64 unless it asks for float32, and no figure opens a window."""

import jax
import matplotlib

jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")
