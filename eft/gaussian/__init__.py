"""Gaussian expectations of σ, σ′, … at one, two, three and four variables."""
