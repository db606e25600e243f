"""The pictures of the bench."""

from __future__ import annotations

import pytest

from adasde.experiments.bench.pictures import quality_figure
from adasde.report.plots import ACCENT


@pytest.mark.parametrize(
    ("labels", "red"),
    [
        (("ipndm", "AdaSDE (paper)", "AdaSDE multistep"), ["AdaSDE multistep"]),
        (("ipndm", "AdaSDE (retrained)", "AdaSDE (paper)"), ["AdaSDE (paper)"]),
        (("ipndm", "AdaSDE, teacher matching"), ["AdaSDE, teacher matching"]),
        (("ipndm",), []),
    ],
)
def test_the_recipe_stands_out_in_the_picture(labels: tuple[str, ...], red: list[str]) -> None:
    def row(label: str) -> dict:
        family = "learned" if label.startswith("AdaSDE") else "multistep"
        fid = {"fid": {"mean": 1.0, "spread": 0.1}}
        return {
            "label": label,
            "family": family,
            "nfe": 3,
            "afs": True,
            "metrics": fid,
            "tried": {"logsnr": 1.0},
        }

    result = {"metrics": ["fid"], "floor": {}, "rows": [row(label) for label in labels]}
    lines = quality_figure(result).axes[0].get_lines()
    assert [line.get_label() for line in lines if line.get_color() == ACCENT] == red
    assert [line.get_label() for line in lines] == list(labels)
