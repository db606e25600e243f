"""The machine: environment, locks, child processes, progress, logging."""
