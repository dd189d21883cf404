#!/usr/bin/env python3
"""Trains the official DINO code (https://github.com/facebookresearch/dino) with the settings and images of one of our runs.

  python3 bench/torch/learn.py --official DINO --config RUN/config.json --images IMAGES --seed 0 --at 0 100 200
  ... --init CHECKPOINT.safetensors   starts from weights of ours instead of its own
  ... --crops FILE                    trains on crops of ours instead of its own
  ... --check                         trains nothing, and says what it would run on

`npm run bench -- --learning` writes IMAGES and FILE and runs this. Networks, head, loss, schedules, parameter groups, clipping, blur and
solarization are imported from the folder DINO; the loop is `train_one_epoch` of main_dino.py without its distributed parts, and k-NN is
that of eval_knn.py. Settings that the official code has no counterpart for are refused (settings.json).
Prints a line of JSON for each evaluation, {"step", "top1"}, and one at the end, {"seconds", "loss", "device"}.
"""
import argparse
import json
import math
import random
import struct
import sys
import time
import warnings
from functools import partial
from pathlib import Path

ARCHITECTURES = {  # dim, depth, heads
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
    "vit_giant2": (1536, 40, 24),
    "vit_huge2": (1280, 32, 20),
    "vit_7b": (4096, 40, 32),
}
KNN_TEMPERATURE = 0.07


def read_settings(path):
    """The settings of a config.json. Ends where the official code cannot honour one, naming it."""
    config = json.loads(Path(path).read_text())
    known = json.loads((Path(__file__).parent / "settings.json").read_text())
    for name, value in config.items():
        if name in known["fixed"] and value != known["fixed"][name]:
            sys.exit(f"{name}: the official code has {json.dumps(known['fixed'][name])}, the config {json.dumps(value)}")
        if name not in (*known["taken"], *known["withoutEffect"], *known["fixed"]):
            sys.exit(f"{name}: learn.py does not know this setting")
    for name in ("imageSize", "localSize"):
        if config[name]["rows"] != config[name]["cols"]:
            sys.exit(f"{name}: the official code has square crops, the config {config[name]['rows']}x{config[name]['cols']}")
    dim, depth, heads = ARCHITECTURES[config["arch"]]
    seen = config["evalSize"] or config["imageSize"]
    resized = math.floor(min(seen["rows"], seen["cols"]) * 256 / 224 + 0.5)
    defaults = {"dim": dim, "depth": depth, "heads": heads, "evalResize": resized, "evalSize": seen}
    width = (config["dim"] or dim) * config["mlpRatio"]
    if width != int(width):
        sys.exit(f"mlpRatio: the official code rounds {width} down")
    return {**config, **{name: value for name, value in defaults.items() if config[name] is None}}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="a checkout of facebookresearch/dino")
    parser.add_argument("--config", help="config.json of a run of ours")
    parser.add_argument("--images", help="folder of images.json, train.u8 and test.u8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=int, nargs="*", default=[], help="steps before which k-NN is measured; at the end it always is")
    parser.add_argument("--init", help="start values: a checkpoint of ours")
    parser.add_argument("--crops", help="crops to train on: bytes [steps, batch, crops, rows, cols, 3]")
    parser.add_argument("--workers", type=int, help="processes that make crops; on a GPU 10, as officially, else none")
    parser.add_argument("--check", action="store_true", help="only import everything, and print the device")
    return parser.parse_args()


given = parse_arguments()
c = read_settings(given.config) if given.config else None

sys.path.insert(0, str(Path(given.official).resolve()))
warnings.filterwarnings("ignore")  # of torchvision, which renamed what the official code calls
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import main_dino
import utils
from vision_transformer import DINOHead, VisionTransformer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
main_dino.dist.all_reduce = lambda *_, **__: None  # of a single process
main_dino.dist.get_world_size = lambda *_, **__: 1


WORKERS = given.workers if given.workers is not None else 10 if DEVICE.type == "cuda" else 0


def device_name():
    on = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{on}, PyTorch {torch.__version__}, f32"


def say(**line):
    print(json.dumps(line), flush=True)


class Pictures(torch.utils.data.Dataset):
    """Images of a part, [rows, cols, 3] bytes one after the other, through a transform."""

    def __init__(self, part, transform):
        described = json.loads((Path(given.images) / "images.json").read_text())
        self.classes, found = len(described["classes"]), described[part]
        self.labels, self.sizes, self.transform = torch.tensor(found["labels"]), found["sizes"], transform
        self.ends = np.cumsum([rows * cols * described["channels"] for rows, cols in self.sizes])
        self.pixels = np.fromfile(Path(given.images) / f"{part}.u8", np.uint8)
        assert len(self.pixels) == self.ends[-1], f"{part}.u8 is not as long as images.json says"

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, i):
        rows, cols = self.sizes[i]
        end = self.ends[i]
        return self.transform(Image.fromarray(self.pixels[end - 3 * rows * cols : end].reshape(rows, cols, 3)))


normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize(c["mean"], c["std"])]) if c else None


def crop_recipe(kind):
    """A transform of DataAugmentationDINO with the sizes and probabilities of the run; kind: Global1, Global2, Local."""
    size, scale = (c["localSize"], c["localCropsScale"]) if kind == "Local" else (c["imageSize"], c["globalCropsScale"])
    jitter = transforms.ColorJitter(c["brightness"], c["contrast"], c["saturation"], c["hue"])
    stages = [
        transforms.RandomResizedCrop(size["rows"], scale=scale, ratio=c["cropRatio"], interpolation=Image.BICUBIC),
        transforms.RandomHorizontalFlip(p=c["flip"]),
        transforms.RandomApply([jitter], p=c["jitter"]),
        transforms.RandomGrayscale(p=c["grayscale"]),
    ]
    if c["blur" + kind] > 0:
        stages.append(utils.GaussianBlur(c["blur" + kind], *c["blurRadius"]))
    if c["solarize" + kind] > 0:
        stages.append(utils.Solarization(c["solarize" + kind]))
    return transforms.Compose([*stages, normalize])


def multi_crop():
    recipes = [crop_recipe("Global1"), crop_recipe("Global2")] + [crop_recipe("Local")] * c["localCropsNumber"]
    return lambda image: [recipe(image) for recipe in recipes]


def own_crops(train):
    """The official loader: every epoch in a new order, the last images left out where they fill no batch."""
    loader = torch.utils.data.DataLoader(
        train,
        batch_size=c["batch"],
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=WORKERS > 0,
        pin_memory=DEVICE.type == "cuda",
    )
    while True:
        yield from loader


def our_crops(steps):
    sides = [c["imageSize"]["rows"]] * 2 + [c["localSize"]["rows"]] * c["localCropsNumber"]
    file = np.memmap(given.crops, np.uint8, "r").reshape(steps, c["batch"], sum(3 * side * side for side in sides))
    for batch in file:
        crops, at = [], 0
        for side in sides:
            views = batch[:, at : at + 3 * side * side].reshape(-1, side, side, 3)
            crops.append(torch.stack([normalize(Image.fromarray(view)) for view in views]))
            at += 3 * side * side
        yield crops


def network(side):
    """Student or teacher as train_dino builds them, in the widths of the run."""
    vit = VisionTransformer(
        img_size=[c["imageSize"]["rows"]],
        patch_size=c["patchSize"],
        embed_dim=c["dim"],
        depth=c["depth"],
        num_heads=c["heads"],
        mlp_ratio=c["mlpRatio"],
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        drop_path_rate=c["dropPathRate"] if side == "student" else 0,
    )
    if c["initStd"] != 0.02:  # the official one; of the backbone's linear layers, not of its tokens
        for module in vit.modules():
            if isinstance(module, nn.Linear):
                utils.trunc_normal_(module.weight, std=c["initStd"])
    head = DINOHead(
        c["dim"],
        c["outDim"],
        use_bn=c["useBnInHead"],
        norm_last_layer=c["normLastLayer"] if side == "student" else True,
        nlayers=c["headLayers"],
        hidden_dim=c["hiddenDim"],
        bottleneck_dim=c["bottleneckDim"],
    )
    return utils.MultiCropWrapper(vit, head).to(DEVICE)


def student_values(path):
    """The f32 tensors of the student in a checkpoint of ours, by official name."""
    file = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", file[:8])
    found = {}
    for name, entry in json.loads(file[8 : 8 + length]).items():
        if name.startswith("student.") and entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(file[start:end], np.float32).reshape(entry["shape"])
            found[name[len("student.") :]] = torch.from_numpy(values.copy())
    return found


def start_from(student, path):
    """Takes every parameter and statistic but for the count of batches, which normalisation with a momentum does not look at."""
    misfit = student.load_state_dict(student_values(path), strict=False)
    missing = [name for name in misfit.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or misfit.unexpected_keys:
        sys.exit(f"--init {path}: missing {missing}, unexpected {misfit.unexpected_keys}")


class Knn:
    """k-NN top-1 of the test images among the training images as eval_knn.py has it, in percent."""

    def __init__(self):
        size = c["evalSize"]["rows"], c["evalSize"]["cols"]
        view = transforms.Compose(
            [transforms.Resize(c["evalResize"], interpolation=3), transforms.CenterCrop(size), normalize]
        )
        self.train, self.test = Pictures("train", view), Pictures("test", view)
        self.views = {}

    @torch.no_grad()
    def features(self, backbone, part):
        if part not in self.views:
            pictures = getattr(self, part)
            self.views[part] = torch.stack([pictures[i] for i in range(len(pictures))])
        found = torch.cat([backbone(views.to(DEVICE)) for views in self.views[part].split(500)])
        return nn.functional.normalize(found, dim=1, p=2)

    def measure(self, backbone):
        backbone.eval()
        train, test = self.features(backbone, "train"), self.features(backbone, "test")
        backbone.train()
        near, which = (test @ train.T).topk(c["knnK"], dim=1)
        votes = torch.zeros(len(test), self.train.classes, device=DEVICE)
        votes.scatter_add_(1, self.train.labels.to(DEVICE)[which], (near / KNN_TEMPERATURE).exp())
        return 100 * (votes.argmax(1).cpu() == self.test.labels).double().mean().item()


def make_optimizer(student):
    groups = utils.get_params_groups(student)
    if c["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=0, momentum=0.9)
    return utils.LARS(groups) if c["optimizer"] == "lars" else torch.optim.AdamW(groups)


def learn():
    torch.manual_seed(given.seed), np.random.seed(given.seed % 2**32), random.seed(given.seed)
    knn = Knn()
    per_epoch = max(1, len(knn.train) // c["batch"])
    steps = c["steps"] or c["epochs"] * per_epoch
    student, teacher = network("student"), network("teacher")
    if given.init:
        start_from(student, given.init)
    teacher.load_state_dict(student.state_dict())
    for p in teacher.parameters():
        p.requires_grad = False
    dino_loss = main_dino.DINOLoss(
        c["outDim"],
        2 + c["localCropsNumber"],
        c["warmupTeacherTemp"],
        c["teacherTemp"],
        c["warmupTeacherTempEpochs"],
        math.ceil(steps / per_epoch),
        student_temp=c["studentTemp"],
        center_momentum=c["centerMomentum"],
    ).to(DEVICE)
    optimizer = make_optimizer(student)
    # An "epoch" a step, since runs of ours may end within an epoch
    warmup = math.floor(c["warmupEpochs"] * per_epoch + 0.5)
    lr = utils.cosine_scheduler(c["lr"] * c["batch"] / 256.0, c["minLr"], steps, 1, warmup_epochs=warmup)
    wd = utils.cosine_scheduler(c["weightDecay"], c["weightDecayEnd"], steps, 1)
    momentum = utils.cosine_scheduler(c["momentumTeacher"], c["momentumTeacherEnd"], steps, 1)

    batches = our_crops(steps) if given.crops else own_crops(Pictures("train", multi_crop()))
    seconds = 0.0
    for it in range(steps):
        if it in given.at:
            say(step=it, top1=knn.measure(teacher.backbone))
        began = time.perf_counter()
        images = [crops.to(DEVICE, non_blocking=True) for crops in next(batches)]
        epoch = it // per_epoch
        for i, group in enumerate(optimizer.param_groups):
            group["lr"] = lr[it]
            if i == 0:  # only the first group is regularized
                group["weight_decay"] = wd[it]
        teacher_output = teacher(images[:2])
        loss = dino_loss(student(images), teacher_output, epoch)
        if not math.isfinite(loss.item()):
            sys.exit(f"loss is {loss.item()} at step {it}")
        optimizer.zero_grad()
        loss.backward()
        if c["clipGrad"]:
            utils.clip_gradients(student, c["clipGrad"])
        utils.cancel_gradients_last_layer(epoch, student, c["freezeLastLayer"])
        optimizer.step()
        with torch.no_grad():
            m = momentum[it]
            for q, k in zip(student.parameters(), teacher.parameters()):
                k.data.mul_(m).add_((1 - m) * q.detach().data)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seconds += time.perf_counter() - began
    say(step=steps, top1=knn.measure(teacher.backbone))
    say(seconds=seconds, loss=loss.item(), device=device_name())


if given.check:
    say(device=device_name())
else:
    learn()
