"""Artifacts that Prefect shows of a flow run: the results table and the picture."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_image_artifact, create_markdown_artifact

from adasde.report.page import data_uri
from adasde.report.results import read_results, results_table


def publish(project: Path) -> None:
    """Create the artifacts ``results`` (a table) and ``fid`` (FID over NFE) from the report."""
    table = results_table(read_results(project)).markdown()
    create_markdown_artifact(table, key="results", description="FID, mean ± spread, best in bold")
    fid = data_uri(project / "report" / "fid.png")
    create_image_artifact(fid, key="fid", description="FID over network evaluations")
