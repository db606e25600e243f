"""Provenance of a run: files, commit, packages, machine."""
