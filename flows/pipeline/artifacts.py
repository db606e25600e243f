"""Artifacts of a flow run in Prefect: the results table and the pictures."""

from __future__ import annotations

import base64
from pathlib import Path

from prefect.artifacts import create_image_artifact, create_markdown_artifact

from adasde.report.results import read_results
from adasde.report.table import markdown_table


def publish(project: Path) -> None:
    """Create the artifacts ``results`` (a table) and ``fid`` (FID over NFE) from the report."""
    create_markdown_artifact(
        markdown_table(read_results(project)), key="results", description="FID, mean ± spread, best in bold"
    )
    create_image_artifact(
        data_uri(project / "report" / "fid.png"), key="fid", description="FID over network evaluations"
    )


def data_uri(picture: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
