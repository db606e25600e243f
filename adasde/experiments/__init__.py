"""Experiments over many samplers: the bench, and the paper's analysis on two circles."""
