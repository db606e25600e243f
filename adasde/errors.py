"""Exceptions for users. Each message names what failed, where, and what to do."""


class AdaSDEError(Exception):
    """Base of every failure that the command line explains in one paragraph (exit code 1)."""


class ParamsError(AdaSDEError):
    """A value of ``params.yaml``, or an argument of the same meaning, cannot be used."""


class SolverError(ParamsError):
    """A solver, a schedule or a number of evaluations that does not exist or does not fit."""


class CoefficientsError(AdaSDEError):
    """Coefficients or their file are invalid, out of range, or belong to another model."""


class CheckpointError(AdaSDEError):
    """Model weights are missing, unreadable, or not the expected ones."""


class DataError(AdaSDEError):
    """A file of the pipeline (shard, statistics, samples, metrics) is missing or damaged."""


class DivergenceError(AdaSDEError):
    """Distillation met a loss or a gradient that is not finite; nothing was written."""


class StoreError(AdaSDEError):
    """A store, or an object in it, cannot be used.

    Attributes:
        kind: a category for programs: ``unreachable``, ``tls``, ``server``, ``credentials``, ``denied``,
            ``bucket``, ``region``, ``clock``, ``missing``, ``checksum``, ``space``, ``name`` or ``other``.
    """

    def __init__(self, message: str, *, kind: str = "other") -> None:
        super().__init__(message)
        self.kind = kind
