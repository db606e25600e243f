"""The schema of params.yaml, a template for new projects, and cost estimates."""
