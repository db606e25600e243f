"""Evaluation: metrics, feature extractors, reference data and the protocol."""
