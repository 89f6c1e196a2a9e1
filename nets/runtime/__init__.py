"""Devices, memory, compiled programs, and the settings that all ensembles share."""
