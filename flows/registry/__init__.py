"""Promotion: policy, champions, and the log of decisions."""
