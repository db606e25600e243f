"""The node that loads a coefficient file."""

from __future__ import annotations

from functools import partial

import comfy.model_sampling
import comfy.samplers

from adasde.errors import SolverError
from adasde.integrations.guidance import check_guidance
from adasde.integrations.k_diffusion import sample_adasde
from adasde.sampling.coefficients import Coefficients


class LoadAdaSDE:
    """A coefficient file as the inputs of the node SamplerCustom: the sampler and its noise levels."""

    CATEGORY = "sampling/custom_sampling/samplers"
    RETURN_TYPES = ("SAMPLER", "SIGMAS")
    FUNCTION = "load"
    DESCRIPTION = (
        "Distilled AdaSDE coefficients: a path, s3://..., https://... or models:/name@alias. "
        "Feed both outputs into SamplerCustom, with the guidance scale they were distilled for."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The file, and the strength of new noise."""
        return {
            "required": {
                "coefficients": ("STRING", {"default": "coefficients.json"}),
                "s_noise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.01}),
            }
        }

    def load(self, coefficients: str, s_noise: float):
        """(SAMPLER, SIGMAS)."""
        table = Coefficients.load(coefficients)
        sampler = comfy.samplers.KSAMPLER(partial(_sample, coefficients=table, s_noise=s_noise))
        return sampler, table.sigmas.float()


def _sample(model, noise, sigmas, extra_args=None, callback=None, disable=None, *, coefficients, s_noise):
    inner = getattr(model, "inner_model", None)  # the guider
    process = getattr(getattr(inner, "inner_model", None), "model_sampling", None)
    if isinstance(process, comfy.model_sampling.CONST):
        raise SolverError(
            "this model was trained by flow matching, whose states ComfyUI keeps in another form than these "
            "coefficients mean. Use AdaSDEScheduler with diffusers for it."
        )
    check_guidance(coefficients, getattr(inner, "cfg", None))
    arguments = (model, noise, sigmas, extra_args, callback, disable)
    return sample_adasde(*arguments, coefficients=coefficients, s_noise=s_noise)


NODE_CLASS_MAPPINGS = {"LoadAdaSDE": LoadAdaSDE}
NODE_DISPLAY_NAME_MAPPINGS = {"LoadAdaSDE": "Load AdaSDE coefficients"}
