#!/usr/bin/env python3
"""Times training steps of the official DINO code (https://github.com/facebookresearch/dino) on random crops.

  python3 bench/torch/official_step.py --official DINO --batch 64 --steps 30 [--amp]

Network, head, loss and the loop, `train_one_epoch` of main_dino.py, are those of the folder DINO: ViT-S/16, 2 crops of 224 and 8 of 96
pixels, 65,536 prototypes, AdamW; without a GPU the sizes of bench.py's step there. Each step ends with the loss on the host, as officially.
Prints {"device", "rows": [{"name": "training step", "medianMs", "minMs"}]}, as bench.py does.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

WARMUPS = 3

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--official", required=True, help="a checkout of facebookresearch/dino")
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--steps", type=int, default=30, help="timed steps")
parser.add_argument("--amp", action="store_true", help="mixed precision, --use_fp16 of the official code; needs CUDA")
given = parser.parse_args()

sys.path.insert(0, str(Path(given.official).resolve()))
warnings.filterwarnings("ignore")  # of newer versions of PyTorch, about what the official code calls
import torch
from torch import nn

import main_dino
import utils
import vision_transformer as vits
from bench import CROPS, STEP_SIZE

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
main_dino.dist.all_reduce = lambda *_, **__: None  # of a single process
main_dino.dist.get_world_size = lambda *_, **__: 1
if DEVICE.type == "cpu":  # the loop names CUDA
    if given.amp:
        parser.error("--amp needs a CUDA device")
    torch.Tensor.cuda = lambda self, **_: self
    torch.cuda.synchronize = lambda: None


class Wrapped(nn.Module):
    """Stands for DistributedDataParallel in one process."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, crops):
        return self.module(crops)


class SameCrops:
    """A loader that gives the same crops `count` times, and notes when it is asked for each."""

    def __init__(self, crops, count):
        self.crops, self.count, self.times = crops, count, []

    def __len__(self):
        return self.count

    def __iter__(self):
        for _ in range(self.count):
            torch.cuda.synchronize()
            self.times.append(time.perf_counter())
            yield self.crops, None
        torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def network(size):
    make = vits.vit_small if DEVICE.type == "cuda" else vits.vit_tiny
    vit = make(patch_size=16, img_size=[size["global"]])
    return utils.MultiCropWrapper(vit, main_dino.DINOHead(vit.embed_dim, size["prototypes"])).to(DEVICE)


def main():
    size = STEP_SIZE[DEVICE.type]
    student, teacher = Wrapped(network(size)), network(size)
    teacher.load_state_dict(student.module.state_dict())
    for p in teacher.parameters():
        p.requires_grad = False
    loss = main_dino.DINOLoss(size["prototypes"], sum(CROPS.values()), 0.04, 0.04, 0, 1).to(DEVICE)
    crops = [
        torch.randn(given.batch, 3, size[kind], size[kind], device=DEVICE) for kind in CROPS for _ in range(CROPS[kind])
    ]
    steps = WARMUPS + given.steps
    loader = SameCrops(crops, steps)
    with contextlib.redirect_stdout(sys.stderr):  # the loop prints its progress
        main_dino.train_one_epoch(
            student,
            teacher,
            teacher,
            loss,
            loader,
            torch.optim.AdamW(utils.get_params_groups(student)),
            [1e-4] * steps,
            [0.04] * steps,
            [0.996] * steps,
            0,
            torch.cuda.amp.GradScaler() if given.amp else None,
            SimpleNamespace(epochs=1, clip_grad=3.0, freeze_last_layer=0),
        )
    times = [1000 * (after - before) for before, after in zip(loader.times, loader.times[1:])][WARMUPS:]
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    row = {"name": "training step", "medianMs": statistics.median(times), "minMs": min(times)}
    precision = "amp" if given.amp else "f32"
    print(json.dumps({"device": f"{name}, PyTorch {torch.__version__}, official code, {precision}", "rows": [row]}))


main()
