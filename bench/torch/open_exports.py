#!/usr/bin/env python3
"""Opens exports of one network in onnxruntime, timm and transformers and compares their numbers with ours; reads the event files of a run.

  python3 bench/torch/open_exports.py FOLDER

FOLDER holds expected.json, {"vit", "images", "tokens", "losses", "run"}; images.f32 and tokens.f32, the input [batch, 3, rows, cols] and
our output [batch, 1 + patches, dim]; and the exports model.onnx, model.safetensors and hf/. `run` is a folder with event files.
Prints a line for each library, {"library", "version", "deviation"} relative to the largest number, {"library", "error"} or {"library",
"missing"}. Exits with 1 if a library fails or deviates by more than TOLERANCE. `npm run bench:gpu` writes FOLDER and runs this.
"""
import importlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

TOLERANCE = 1e-3  # f32 sums in other orders, through all blocks

folder = Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())
images = np.fromfile(folder / "images.f32", np.float32).reshape(expected["images"])
tokens = np.fromfile(folder / "tokens.f32", np.float32).reshape(expected["tokens"])


def deviation(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape:
        raise ValueError(f"shape {list(found.shape)} instead of {list(wanted.shape)}")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def onnxruntime():
    import onnxruntime as ort

    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    features, patches = session.run(["features", "patch_tokens"], {"images": images})
    return max(deviation(features, tokens[:, 0]), deviation(patches, tokens[:, 1:]))


def timm():
    import torch
    from safetensors.torch import load_file
    from timm.models.vision_transformer import VisionTransformer

    vit = expected["vit"]
    model = VisionTransformer(
        img_size=(vit["imageRows"], vit["imageCols"]),
        patch_size=vit["patch"],
        embed_dim=vit["dim"],
        depth=vit["depth"],
        num_heads=vit["heads"],
        mlp_ratio=vit["mlpRatio"],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_classes=0,
    ).eval()
    model.load_state_dict(load_file(str(folder / "model.safetensors")))  # every name must fit
    with torch.no_grad():
        return deviation(model.forward_features(torch.from_numpy(images)).numpy(), tokens)


def transformers():
    import torch
    from transformers import ViTModel

    model, loading = ViTModel.from_pretrained(str(folder / "hf"), add_pooling_layer=False, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(kind):
            raise ValueError(f"{kind}: {sorted(map(str, loading[kind]))[:5]}")
    with torch.no_grad():
        return deviation(model.eval()(pixel_values=torch.from_numpy(images)).last_hidden_state.numpy(), tokens)


def tensorboard():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(expected["run"])
    events.Reload()
    found = events.Scalars("train/loss")
    steps, losses = zip(*expected["losses"])
    if [event.step for event in found] != list(steps):
        raise ValueError(f"steps {[event.step for event in found]} instead of {list(steps)}")
    return deviation([event.value for event in found], losses)


def opened(read):
    """The line of a library."""
    name = read.__name__
    try:
        version = getattr(importlib.import_module(name), "__version__", "unknown")
    except ModuleNotFoundError as error:
        return {"library": name, "missing": str(error)}
    try:
        return {"library": name, "version": version, "deviation": read()}
    except Exception as error:
        return {"library": name, "version": version, "error": f"{type(error).__name__}: {error}"}


lines = []
for library in (onnxruntime, timm, transformers, tensorboard):
    lines.append(opened(library))
    print(json.dumps(lines[-1]), flush=True)
if any("error" in line or not line.get("deviation", 0) <= TOLERANCE for line in lines):
    sys.exit("an export cannot be opened, or gives other numbers than ours")
