"""MLflow: runs, their content and provenance, and registered versions."""
