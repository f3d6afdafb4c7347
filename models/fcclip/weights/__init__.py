"""Weights of FC-CLIP beside their manifest; a package only so that the files are installed."""
