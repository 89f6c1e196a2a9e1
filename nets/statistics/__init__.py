"""Estimates with standard errors."""
