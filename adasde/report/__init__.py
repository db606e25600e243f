"""Tables, plots and pages of numbers; the report of a pipeline's results."""

from adasde.report.results import Results, collect, results_table
from adasde.report.table import Table

__all__ = ["Results", "Table", "collect", "results_table"]
