"""Reproduction of a recorded run in a folder of its own, and the comparison."""
