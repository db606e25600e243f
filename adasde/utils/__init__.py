"""Small tools without knowledge of diffusion: files, manifests, batching, progress, processes."""
