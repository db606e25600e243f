"""InceptionV3, the feature extractor of FID."""
