"""CLIP and DINOv2, the networks behind the CLIP score and FD-DINOv2."""
