"""What a person reads at the end: the table, the pictures, one self-contained page."""

from adasde.report.results import Results, collect
from adasde.report.table import results_table

__all__ = ["Results", "collect", "results_table"]
