"""The stages of the pipeline: plain functions from paths and params to files, one module a stage.

Each checks its inputs first, writes only complete files, and returns what it did as a small mapping. None
knows who calls it: a person on the command line, DVC, or a flow.
"""
