"""Trained signal networks: <name>.json describes, <name>.safetensors holds the weights."""
