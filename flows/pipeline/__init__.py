"""The flow that runs every stage, and what it shows in Prefect."""
