"""Sweeps: every combination of settings, side by side, compared."""
