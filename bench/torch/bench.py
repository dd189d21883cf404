#!/usr/bin/env python3
"""The rows of `npm run bench` in PyTorch, under the same names and on the same shapes, to lay the two side by side.

Run where PyTorch is: python3 bench/torch/bench.py [--precision f32|tf32|amp|bf16] [--compile] [--batch N] [--filter TEXT...]
Prints {"device": ..., "rows": [{"name", "medianMs", "minMs", "gflopPerS"?, "gbPerS"?}], "profile"?: [{"kernel", "calls", "ms",
"share"}]}, the profile of a training step by operator, the costliest first. Nothing in the project needs it.
"""
import argparse
import contextlib
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

ON_GPU = torch.cuda.is_available()
DIM, HEADS, HIDDEN = (384, 6, 1536) if ON_GPU else (192, 3, 768)  # ViT-S on a GPU, else ViT-Ti, as bench/steps/rows.ts
DEPTH, PATCH = 12, 16
PARAMETERS = (28672, 192)
TOKENS = {"global": 1 + 14**2, "local": 1 + 6**2}
CROPS = {"global": 2, "local": 8}
PROTOTYPES = 65536
# The step's size by kind of device, that of bench/steps/step.ts
STEP_SIZE = {
    "cuda": {"global": 224, "local": 96, "prototypes": 65536},
    "cpu": {"global": 96, "local": 48, "prototypes": 8192},
}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        return self.proj(attend(self.qkv(x)))


def attend(qkv):
    """[batch, tokens, 3 * DIM] -> [batch, tokens, DIM], fused where this PyTorch has it."""
    batch, tokens, _ = qkv.shape
    q, k, v = qkv.reshape(batch, tokens, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    if hasattr(F, "scaled_dot_product_attention"):
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        out = ((q @ k.transpose(-2, -1)) / math.sqrt(DIM // HEADS)).softmax(-1) @ v
    return out.transpose(1, 2).reshape(batch, tokens, DIM)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM, eps=1e-6), nn.LayerNorm(DIM, eps=1e-6)
        self.attn, self.mlp = Attention(), nn.Sequential(nn.Linear(DIM, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, DIM))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Network(nn.Module):
    """Backbone and head as DINO has them; crops of several sizes, the position embedding resized to each."""

    def __init__(self, side, prototypes):
        super().__init__()
        self.grid = side // PATCH
        self.patches = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.cls = nn.Parameter(torch.zeros(1, 1, DIM))
        self.positions = nn.Parameter(torch.randn(1, 1 + self.grid**2, DIM) * 0.02)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(DEPTH))), nn.LayerNorm(DIM, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(DIM, 2048), nn.GELU(), nn.Linear(2048, 2048), nn.GELU(), nn.Linear(2048, 256)
        )
        self.last = nn.utils.weight_norm(nn.Linear(256, prototypes, bias=False))
        self.last.weight_g.data.fill_(1)
        self.last.weight_g.requires_grad = False

    def features(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        grid = images.shape[-1] // PATCH
        positions = self.positions
        if grid != self.grid:
            square = positions[:, 1:].reshape(1, self.grid, self.grid, DIM).permute(0, 3, 1, 2)
            resized = F.interpolate(square, size=(grid, grid), mode="bicubic").permute(0, 2, 3, 1)
            positions = torch.cat([positions[:, :1], resized.reshape(1, grid**2, DIM)], 1)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + positions
        return self.norm(self.blocks(x))[:, 0]

    def forward(self, crops):
        features = torch.cat([self.features(x) for x in crops])
        return self.last(F.normalize(self.mlp(features), dim=-1))


def cross_entropy(student, teacher, center):
    """student [10 * batch, K], teacher [2 * batch, K]: the loss of DINO, every pair but a crop with itself."""
    views = (student / 0.1).log_softmax(-1).chunk(CROPS["global"] + CROPS["local"])
    targets = ((teacher - center) / 0.04).softmax(-1).detach().chunk(CROPS["global"])
    terms = [-(t * v).sum(-1).mean() for i, t in enumerate(targets) for j, v in enumerate(views) if i != j]
    return sum(terms) / len(terms)


def training_step(batch, device, autocast, scaled, compiled):
    size = STEP_SIZE[device.type]
    student = Network(size["global"], size["prototypes"]).to(device)
    teacher = Network(size["global"], size["prototypes"]).to(device)
    teacher.load_state_dict(student.state_dict())
    for p in teacher.parameters():
        p.requires_grad = False
    trained = [p for p in student.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.dim() > 1]}, {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.04)
    center = torch.zeros(1, size["prototypes"], device=device)
    crops = [
        torch.randn(CROPS[kind] * batch, 3, size[kind], size[kind], device=device) for kind in ("global", "local")
    ]
    scaler = torch.cuda.amp.GradScaler() if scaled else None
    run_student = torch.compile(student) if compiled else student
    run_teacher = torch.compile(teacher) if compiled else teacher

    def step():
        with autocast():
            with torch.no_grad():
                targets = run_teacher(crops[:1])
            loss = cross_entropy(run_student(crops), targets, center)
        optimizer.zero_grad()
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.unscale_(optimizer)
        for p in trained:  # as the official clip_gradients, one parameter at a time
            norm = p.grad.norm(2)
            p.grad.mul_(torch.clamp(3.0 / (norm + 1e-6), max=1.0))
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        with torch.no_grad():
            for mine, its in zip(teacher.parameters(), student.parameters()):
                mine.mul_(0.996).add_(its.detach(), alpha=0.004)
            center.mul_(0.9).add_(targets.float().mean(0, keepdim=True), alpha=0.1)

    return step


def rows(batch, device, half):
    """(name, what to time, flops, bytes), made when they are asked for; operands of products and attention are of type `half`, if any."""
    tokens = batch * sum(CROPS[kind] * TOKENS[kind] for kind in CROPS)
    new = lambda *shape: torch.randn(*shape, device=device)
    operand = lambda *shape: torch.randn(*shape, device=device, dtype=half)

    def product(m, n, k):
        x, weight = operand(m, k), operand(n, k)
        return lambda: F.linear(x, weight)

    def plain(m, n, k, transposed):
        a, b = operand(k, m) if transposed else operand(m, k), operand(k, n)
        return lambda: (a.t() if transposed else a) @ b

    def backward(make, *inputs):
        for x in inputs:
            x.requires_grad = True
        y = make(*inputs)
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)

    def cost(m, n, k):
        return 2 * m * n * k, 4 * (m * k + n * k + m * n)

    def of_labels(images, layers, classes):
        x, labels = new(images * layers, classes), (7 * torch.arange(images)) % classes
        labels = labels.to(x.device).repeat_interleave(layers)
        return lambda: F.cross_entropy(x, labels, reduction="none")

    def rotated(sequences):
        q, k, v = new(3, sequences, HEADS, TOKENS["global"], DIM // HEADS)
        cos, sin = new(TOKENS["global"] - 1, DIM // HEADS), new(TOKENS["global"] - 1, DIM // HEADS)

        def turn(x):
            cls, x = x[:, :, :1], x[:, :, 1:]
            a, b = x.chunk(2, -1)
            return torch.cat([cls, x * cos + torch.cat([-b, a], -1) * sin], 2)

        return lambda: (turn(q), turn(k), v)

    def gate(x):
        a, b = x.chunk(2, -1)
        return F.silu(a) * b

    def part(sequences):
        x, order = new(sequences, TOKENS["global"], DIM), torch.arange(sequences, device=device).flip(0)[: sequences // 2]
        return lambda: x.index_add(0, order, x[order], alpha=2)

    norm = lambda x, gain, bias: F.layer_norm(x, (DIM,), gain, bias, 1e-6)
    found = [
        ("matmul qkv", lambda: product(tokens, 3 * DIM, DIM), *cost(tokens, 3 * DIM, DIM)),
        ("matmul mlp, up", lambda: product(tokens, HIDDEN, DIM), *cost(tokens, HIDDEN, DIM)),
        ("matmul mlp, down", lambda: product(tokens, DIM, HIDDEN), *cost(tokens, DIM, HIDDEN)),
        ("matmul prototypes", lambda: product(10 * batch, PROTOTYPES, 256), *cost(10 * batch, PROTOTYPES, 256)),
        ("matmul mlp, input gradient", lambda: plain(tokens, DIM, HIDDEN, False), *cost(tokens, DIM, HIDDEN)),
        ("matmul mlp, weight gradient", lambda: plain(HIDDEN, DIM, tokens, True), *cost(HIDDEN, DIM, tokens)),
        ("gelu", lambda: (lambda x: lambda: F.gelu(x))(new(tokens, HIDDEN)), None, 8 * tokens * HIDDEN),
        ("gelu backward", lambda: backward(F.gelu, new(tokens, HIDDEN)), None, 12 * tokens * HIDDEN),
        ("top-k", lambda: (lambda x: lambda: x.topk(16))(new(256, 16384)), None, 4 * 256 * 16384),
        ("softmax", lambda: (lambda x: lambda: x.softmax(-1))(new(tokens, TOKENS["global"])), None, 8 * tokens * TOKENS["global"]),
        ("sum of rows", lambda: (lambda x: lambda: x.sum(0))(new(tokens, 3 * DIM)), None, 4 * tokens * 3 * DIM),
        ("cross-entropy of labels", lambda: of_labels(128, 8, 1000), None, 4 * 128 * 8 * 1000),
        ("layernorm", lambda: (lambda x, g, b: lambda: norm(x, g, b))(new(tokens, DIM), new(DIM), new(DIM)), None, 8 * tokens * DIM),
        ("add and layernorm", lambda: (lambda x, b, g, s: lambda: norm(x + b, g, s))(new(tokens, DIM), new(tokens, DIM), new(DIM), new(DIM)), None, 16 * tokens * DIM),
        ("layernorm backward", lambda: backward(norm, new(tokens, DIM), new(DIM), new(DIM)), None, 20 * tokens * DIM),
    ]
    sequences, gated = CROPS["global"] * batch, 2 * HIDDEN // 3
    whole = sequences * TOKENS["global"]
    scaled = lambda x, factors: x * factors
    found += [
        ("rotary positions", lambda: rotated(sequences), None, 24 * whole * DIM),
        ("swiglu", lambda: (lambda x: lambda: gate(x))(new(whole, 2 * gated)), None, 12 * whole * gated),
        ("scale of columns", lambda: (lambda x, f: lambda: scaled(x, f))(new(whole, DIM), new(DIM)), None, 8 * whole * DIM),
        ("scale of columns backward", lambda: backward(scaled, new(whole, DIM), new(DIM)), None, 12 * whole * DIM),
        ("part of a batch", lambda: part(sequences), None, 14 * whole * DIM),
    ]
    if ON_GPU:
        found.append(("matmul 4096", lambda: product(4096, 4096, 4096), *cost(4096, 4096, 4096)))
    attended = [(batch * CROPS[kind], n) for kind, n in TOKENS.items()] + ([(batch, 1 + 28**2)] if ON_GPU else [])
    for sequences, n in attended:
        flops = 4 * sequences * n * n * DIM
        shape = (sequences, n, 3 * DIM)
        found.append((f"attention, {n} tokens", lambda shape=shape: (lambda x: lambda: attend(x))(operand(*shape)), flops, None))
        found.append((f"attention backward, {n} tokens", lambda shape=shape: backward(attend, operand(*shape)), 2.5 * flops, None))
    few = min(batch, 8)
    elements = (CROPS["global"] * 2 + CROPS["local"]) * few * PROTOTYPES
    logits = lambda: (new(10 * few, PROTOTYPES), new(2 * few, PROTOTYPES), new(PROTOTYPES))
    loss = lambda s, t, c: lambda: cross_entropy(s, t, c)
    found.append(("cross-entropy", lambda: loss(*logits()), None, 4 * (elements + 2 * few * PROTOTYPES)))

    def loss_backward():
        student, teacher, center = logits()
        return backward(lambda s: cross_entropy(s, teacher, center), student)

    found.append(("cross-entropy backward", loss_backward, None, 4 * (elements + 10 * few * PROTOTYPES)))

    def prototypes(images, gradients):
        unit = lambda *shape: F.normalize(new(*shape), dim=-1)
        x, weight = unit(10 * images, 256).requires_grad_(), unit(PROTOTYPES, 256).requires_grad_()
        teacher_x, teacher_weight, center = unit(2 * images, 256), unit(PROTOTYPES, 256), new(PROTOTYPES)

        def run():
            with torch.no_grad():
                teacher = F.linear(teacher_x, teacher_weight)
            loss = cross_entropy(F.linear(x, weight), teacher, center)
            return torch.autograd.grad(loss, (x, weight)) if gradients else loss

        return run

    found.append(("prototypes and loss", lambda: prototypes(few, False), cost(12 * few, PROTOTYPES, 256)[0], None))
    found.append(("prototypes and loss, gradients", lambda: prototypes(batch, True), cost(32 * batch, PROTOTYPES, 256)[0], None))
    size = math.prod(PARAMETERS)

    def adamw():
        weight = nn.Parameter(new(*PARAMETERS))
        weight.grad = new(*PARAMETERS)
        optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.04)
        return optimizer.step

    def ema():
        teacher, student = new(*PARAMETERS), new(*PARAMETERS)
        return lambda: teacher.mul_(0.9).add_(student, alpha=0.1)

    return found + [("adamw", adamw, None, 32 * size), ("ema", ema, None, 12 * size)]


def timed(fn, device, seconds, calls):
    """Milliseconds of a call, each time of `calls` one after the other: on a GPU the host's part of one would show in short ones."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(3):
        fn()
    wait()
    start = time.perf_counter()
    while len(times) < 5 or (len(times) < 50 and time.perf_counter() - start < seconds):
        before = time.perf_counter()
        for _ in range(calls):
            fn()
        wait()
        times.append(1000 * (time.perf_counter() - before) / calls)
    return {"medianMs": statistics.median(times), "minMs": min(times)}


def profiled(step, device):
    """What each operator of PyTorch has of a step by itself: on the GPU where there is one."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        step()
        if on_gpu:
            torch.cuda.synchronize()
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = [(e.key, e.count, getattr(e, own, getattr(e, "self_cuda_time_total", 0)) / 1000) for e in found.key_averages()]
    total = sum(ms for _, _, ms in times)
    costliest = sorted(times, key=lambda row: -row[2])
    return [{"kernel": key, "calls": calls, "ms": ms, "share": ms / total} for key, calls, ms in costliest if ms > 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=["f32", "tf32", "amp", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks of the training step")
    parser.add_argument("--batch", type=int, help="images of a step; 64 on a GPU, 1 without")
    parser.add_argument("--filter", nargs="+", default=[""], help="only rows whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=3, help="for each row, at most")
    given = parser.parse_args()
    device = torch.device("cuda" if ON_GPU else "cpu")
    half = {"amp": torch.float16, "bf16": torch.bfloat16}.get(given.precision)
    if half and device.type != "cuda":
        parser.error(f"--precision {given.precision} needs a CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = given.precision == "tf32"
    autocast = (lambda: torch.autocast("cuda", dtype=half)) if half else contextlib.nullcontext
    batch = given.batch or (64 if device.type == "cuda" else 1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"

    steps = [("training step", lambda: training_step(batch, device, autocast, half == torch.float16, given.compile), None, None)]
    measured, profile = [], None
    for row, make, flops, size in steps + rows(batch, device, half):
        if not any(text.lower() in row.lower() for text in given.filter):
            continue
        run = make()

        def once(run=run):
            with autocast():
                return run()

        computes_in_half = half and row.startswith(("matmul", "attention", "prototypes"))  # under autocast
        suffix = {torch.float16: ", f16", torch.bfloat16: ", bf16"}[half] if computes_in_half else ""
        is_step = row == "training step"
        calls = 10 if ON_GPU and not is_step else 1
        found = {"name": row + suffix, **timed(run if is_step else once, device, given.seconds, calls)}
        if flops:
            found["gflopPerS"] = flops / found["medianMs"] / 1e6
        if size:
            found["gbPerS"] = size / found["medianMs"] / 1e6
        measured.append(found)
        if is_step:
            profile = profiled(run, device)
        del run
    compiled = ", compiled" if given.compile else ""
    device_name = f"{name}, PyTorch {torch.__version__}, {given.precision}{compiled}"
    print(json.dumps({"device": device_name, "rows": measured, **({"profile": profile} if profile else {})}, indent=2))


if __name__ == "__main__":
    main()
