"""The registry of families: what is known is called, everything else is refused in plain words."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch

from adasde.errors import CheckpointError
from adasde.models.core import registry
from adasde.models.core.checkpoint import find, read_card
from adasde.models.core.registry import CONVERTERS, Converted, Opened, converted, network_of, register

OPENED = Opened({"weight": torch.ones(2)}, {"format": "torch"})


def double(opened: Opened) -> Converted:
    return Converted("toy", {"width": 2}, {"w": 2 * opened.tensors["weight"]})


def test_a_registered_converter_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    made = converted("toy", OPENED)
    assert (made.family, made.about, made.tensors["w"].tolist()) == ("toy", {"width": 2}, [2.0, 2.0])


def test_a_family_is_registered_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", {})
    monkeypatch.setattr(registry, "CONVERTERS", {})
    card = read_card(find("digits"))
    register("toy", build=lambda card, about: torch.nn.Identity(), convert=double)
    network = network_of(card, replace(card.model, family="toy"))
    assert isinstance(network, torch.nn.Identity) and converted("toy", OPENED).family == "toy"
    with pytest.raises(CheckpointError, match=r"unknown family 'residual-mlp'; known: toy"):
        network_of(card, card.model)


def test_an_unknown_family_is_refused_with_those_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    with pytest.raises(
        CheckpointError, match=r"family 'other' cannot be converted.* converters: .*toy.*Install"
    ):
        converted("other", OPENED)


def test_a_file_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "toy", double)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of the family 'toy': KeyError\('weight'\)"):
        converted("toy", Opened({}))


def test_the_module_that_was_documented_before_still_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    old = importlib.import_module("adasde.models.convert")
    assert (old.Converted, old.Opened) == (Converted, Opened)
    monkeypatch.setitem(old.CONVERTERS, "mine", double)
    assert converted("mine", OPENED).family == "toy"
