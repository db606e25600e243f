"""Code of the registered MLflow models, copied into the folder of each: images for rows of seeds."""

from __future__ import annotations

from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from pandas import DataFrame

from adasde.errors import ParamsError
from adasde.generation.serving import draw_rows, prepare


class Images(PythonModel):
    """Seeds, with classes or prompts, to images: see ``adasde.generation.serving``."""

    def load_context(self, context: Any) -> None:
        settings = context.model_config or {}
        self.request = prepare(
            context.artifacts["coefficients"], model=settings.get("model"), device=settings.get("device")
        )

    def predict(self, context: Any, model_input: DataFrame, params: Any = None) -> DataFrame:
        """A frame with one row for each of ``model_input``.

        Raises:
            MlflowException: rows that the model does not take; a server answers with the reason.
        """
        columns = {str(name): model_input[name].tolist() for name in model_input.columns}
        try:
            return DataFrame(draw_rows(self.request, columns))
        except ParamsError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(Images())
