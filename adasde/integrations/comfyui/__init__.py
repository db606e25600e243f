"""ComfyUI: load distilled coefficients as SAMPLER and SIGMAS for the node SamplerCustom.

Put this folder into ``custom_nodes`` and install ``adasde`` where ComfyUI runs.
"""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
