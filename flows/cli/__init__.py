"""The orchestration commands of ``adasde``."""
