"""The servers of Prefect and MLflow, and the worker."""
