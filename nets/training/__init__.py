"""Ensembles in training."""
