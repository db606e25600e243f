"""The registry of converters: what is known is called, everything else is refused in plain words."""

from __future__ import annotations

import pytest
import torch

from adasde.errors import CheckpointError
from adasde.models.hub.convert import CONVERTERS, Converted, Opened, converted

OPENED = Opened({"weight": torch.ones(2)}, {"format": "torch"})


def double(opened: Opened) -> Converted:
    return Converted("toy", {"width": 2}, {"w": 2 * opened.tensors["weight"]})


def test_a_registered_converter_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    made = converted("toy", OPENED)
    assert (made.family, made.about, made.tensors["w"].tolist()) == ("toy", {"width": 2}, [2.0, 2.0])


def test_an_unknown_family_is_refused_with_those_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    with pytest.raises(CheckpointError, match=r"family 'other' cannot be converted.* there: .*toy.*Install"):
        converted("other", OPENED)


def test_a_file_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    with pytest.raises(CheckpointError, match=r"no checkpoint of the family 'toy': KeyError\('weight'\)"):
        converted("toy", Opened({}))
