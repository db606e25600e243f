"""Prompts as CLIP reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.libraries import short, tokenizers

FAMILY = "clip-tokenizer"
END = "<|endoftext|>"


class Tokens:
    """Prompts -> tokens [n, length] of a ``tokenizer.json``: begin, words, and the end again and again."""

    def __init__(self, path: Path, *, length: int) -> None:
        """``length``: of all prompts in tokens; what is longer is cut.

        Raises:
            CheckpointError: the file is no such tokenizer.
        """
        try:
            self.tokenizer = tokenizers().Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"{path} is no tokenizer ({short(error)}). It is the tokenizer.json of CLIP."
            ) from error
        end = self.tokenizer.token_to_id(END)
        if end is None:
            raise CheckpointError(f"{path} is not CLIP's tokenizer: it has no {END}.")
        self.tokenizer.enable_truncation(max_length=length)
        self.tokenizer.enable_padding(length=length, pad_id=end, pad_token=END)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([told.ids for told in self.tokenizer.encode_batch(list(prompts))])
