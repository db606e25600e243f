"""CLIP's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.libraries import short, tokenizers

FAMILY = "clip-tokenizer"
END = "<|endoftext|>"


class Tokens:
    """Prompts -> tokens [n, length] of a ``tokenizer.json``: begin, words, and the end token as padding."""

    def __init__(self, path: Path, *, length: int) -> None:
        """``length``: tokens of every prompt; longer ones are cut.

        Raises:
            CheckpointError: the file is no such tokenizer.
        """
        try:
            self.tokenizer = tokenizers().Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"{path} is no tokenizer ({short(error)}). Use the tokenizer.json of CLIP."
            ) from error
        end = self.tokenizer.token_to_id(END)
        if end is None:
            raise CheckpointError(f"{path} is not CLIP's tokenizer: it has no {END}.")
        self.tokenizer.enable_truncation(max_length=length)
        self.tokenizer.enable_padding(length=length, pad_id=end, pad_token=END)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))])
