"""Ensembles at initialization, drawn and measured."""
