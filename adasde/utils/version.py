"""The version of the package, as ``pyproject.toml`` reads it."""

VERSION = "0.1.0"
