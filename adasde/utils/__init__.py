"""Tools that know nothing of diffusion: files, manifests, batching, progress, processes."""
