"""Orchestration: the only place that knows Prefect, MLflow and DVC."""
