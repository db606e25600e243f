"""Random networks of diffusers, small enough for tests."""

from __future__ import annotations

from functools import cache

import torch

from adasde.utils.torchvision_compat import usable_torchvision

usable_torchvision()


@cache
def unconditional(dtype: torch.dtype = torch.float32):
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    return network.eval().requires_grad_(False).to(dtype)


@cache
def text_to_image():
    """A whole Stable Diffusion pipeline with random weights: VAE, text encoder, tokenizer of a few words."""
    import json
    import tempfile
    from pathlib import Path

    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    blocks = {"block_out_channels": (16, 16), "layers_per_block": 1, "norm_num_groups": 4}
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        **blocks,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **blocks
    )
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "cat</w>": 3, "a": 4, "c": 5, "t": 6}
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(words))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        tokenizer = CLIPTokenizer(
            f"{folder}/vocab.json", f"{folder}/merges.txt", model_max_length=16, unk_token="<|endoftext|>"
        )
    trained = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=DDIMScheduler(clip_sample=False, **trained),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _save(pipe, folder) -> str:
    pipe.save_pretrained(folder)
    return f"diffusers:{folder}"


def save_unconditional(folder, **trained) -> str:
    """A pipeline of ``unconditional`` in ``folder``; returns its spec. ``trained`` goes to the scheduler."""
    from diffusers import DDIMPipeline, DDIMScheduler

    return _save(DDIMPipeline(unconditional(), DDIMScheduler(clip_sample=False, **trained)), folder)


def save_by_class(folder, classes: int = 5) -> str:
    """A pipeline with a class-conditional UNet2DModel that has no null class."""
    from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

    torch.manual_seed(1)
    config = dict(unconditional().config) | {"num_class_embeds": classes}
    network = UNet2DModel(**{name: value for name, value in config.items() if name[0] != "_"})
    return _save(DDPMPipeline(network, DDIMScheduler()), folder)


def latent_vae(channels: int = 4):
    """A random autoencoder: latents [4, 8, 8] of images [3, 16, 16]."""
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    return AutoencoderKL(
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()


def save_dit(folder) -> str:
    """A DiT of latents with 5 classes, which predicts noise and a variance."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(3)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        num_embeds_ada_norm=5,
        norm_num_groups=4,
    )
    return _save(DiTPipeline(network, latent_vae(), DDIMScheduler()), folder)


def save_text_to_image(folder) -> str:
    """``text_to_image`` in ``folder``."""
    return _save(text_to_image(), folder)


def save_sd3(folder) -> str:
    """A Stable Diffusion 3 with random weights, without its largest text encoder, which it can do without."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(4)
    config = CLIPTextConfig(**text_to_image().text_encoder.config.to_dict() | {"projection_dim": 16})
    encoders = [CLIPTextModelWithProjection(config).eval() for _ in range(2)]
    network = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
    )
    tokenizer = text_to_image().tokenizer
    pipe = StableDiffusion3Pipeline(
        network,
        FlowMatchEulerDiscreteScheduler(),
        latent_vae(),
        encoders[0],
        tokenizer,
        encoders[1],
        tokenizer,
        None,
        None,
    )
    return _save(pipe, folder)


def flux(*, guided: bool):
    """The transformer of Flux with random weights, of latents [4, 8, 8]."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(5)
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=guided,
        axes_dims_rope=(4, 4, 8),
    ).eval()
