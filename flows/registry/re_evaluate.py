"""Re-evaluation of coefficient files under the present protocol of params.yaml."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adasde.config.params import Params
from adasde.errors import AdaSDEError, DataError

if TYPE_CHECKING:
    from adasde.evaluation.protocol import Evaluator


@dataclass(frozen=True)
class ReEvaluation:
    """The present protocol, loaded once, and the checkpoint that samples are drawn with."""

    params: Params
    nfe: int
    checkpoint: Path
    evaluator: Evaluator

    @classmethod
    def load(cls, project: Path, params: Params, model: str, nfe: int) -> ReEvaluation:
        """Re-evaluation with the outputs of the stages ``fetch`` and ``reference``.

        Raises:
            DataError: they are missing, or belong to another model.
        """
        from adasde.evaluation.protocol import Evaluator

        checkpoint = project / "data" / "checkpoint"
        try:
            if params.model_name != model:
                raise DataError(f"{checkpoint} is that of {params.model_name!r}")
            evaluator = Evaluator.load(params, checkpoint=checkpoint, folder=project / "data" / "reference")
        except AdaSDEError as error:
            raise DataError(
                "the two were measured under different protocols, so they have to be measured again, which "
                f"cannot be done here: {str(error).rstrip('.')}. Set model: {model} in params.yaml, let "
                "'adasde run' make these files, then promote again."
            ) from error
        return cls(params, nfe, checkpoint, evaluator)

    @property
    def protocol(self) -> str:
        """Hash of the present protocol."""
        return self.evaluator.protocol.hash

    def measure(self, coefficients: bytes) -> dict[str, Any]:
        """Metrics file of a coefficient file, as the stage ``evaluate`` writes it, without baselines.

        Raises:
            CoefficientsError: the coefficients do not fit the checkpoint.
        """
        from adasde.stages.sample import sample
        from adasde.utils.manifest import Manifest
        from adasde.utils.safetensors_io import load_images

        with tempfile.TemporaryDirectory(prefix="adasde-") as name:
            file, samples = Path(name, "coefficients.json"), Path(name, "samples")
            file.write_bytes(coefficients)
            sample(self.params, self.nfe, checkpoint=self.checkpoint, coefficients=file, out=samples)
            ((name, entry),) = Manifest.load(samples).entries.items()
            row = self.evaluator.row(load_images(samples / name), nfe=entry["nfe"])
        label = entry["label"]
        return self.evaluator.document({label: row}) | {"nfe": self.nfe, "student": label}
