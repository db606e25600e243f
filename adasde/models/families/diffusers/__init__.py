"""Pipelines of the library ``diffusers`` as models."""
