"""The bench: any model, every sampler, one table (``adasde bench``)."""
