#!/usr/bin/env python3
"""Prints what this Python has of what `npm run bench:gpu` compares with: {"packages": {name: version or null}, "cuda": card or null}."""
import importlib.util
import json
from importlib import metadata

PACKAGES = ["torch", "torchvision", "numpy", "onnxruntime", "timm", "transformers", "safetensors", "tensorboard"]


def version(name):
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def cuda():
    if version("torch") is None:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


print(json.dumps({"packages": {name: version(name) for name in PACKAGES}, "cuda": cuda()}))
