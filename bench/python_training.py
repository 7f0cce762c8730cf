#!/usr/bin/env python3
"""A torch loop with `tightrope.torch` beside the command: the same network, schedule and certification on MNIST at ε = 0.1.

    pip install "./python[torch]"
    python bench/python_training.py --data-dir DATA [--tightrope target/release/tightrope] [--epochs 5] [--seeds 3]

Both train CNN3 by IBP with Adam: a new order of the images in every epoch, ε rising by a line over the first 40 % of the run,
the learning rate a fifth from 70 % on and a fifth of that from 85 % on, gradients cut to length 10. The two draw their start
values and orders from generators of their own, so that only distributions agree. All test images are then certified by IBP and
CROWN. Prints a Markdown table for docs/python.md with means and standard deviations over the seeds.
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
from torch import nn

import tightrope
import tightrope.data
from tightrope.torch import certified_loss

EPS, BATCH, RATE, CLIP = 0.1, 128, 2e-3, 10.0


def by_command(program, data_dir, epochs, seed, folder):
    settings = {
        "warmup.shape": '"linear"', "warmup.start": 0, "warmup.end": 0.4 * epochs, "train.grad_clip": CLIP, "train.lr": RATE,
        "train.milestones": [0.7 * epochs, 0.85 * epochs], "train.lr_decay": 0.2, "train.eval_every": 0, "seed": seed,
    }  # fmt: skip
    command = [program, "train", "--dataset", "mnist", "--model", "cnn3", "--eps", EPS, "--method", "ibp", "--epochs", epochs,
               "--batch", BATCH, "--data-dir", data_dir, "--out", folder]  # fmt: skip
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return tightrope.Network.from_file(folder)


def by_torch(x, y, epochs, seed):
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 10)
    )
    # Start values for interval bounds (Shi et al. 2021) in all layers but the last, as the command's.
    for layer in (module[0], module[2]):
        nn.init.normal_(layer.weight, 0.0, np.sqrt(2 * np.pi) / layer.weight[0].numel())
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    steps = -(-len(x) // BATCH)
    for epoch in range(epochs):
        for step, part in enumerate(torch.randperm(len(x)).split(BATCH)):
            now = epoch + step / steps
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.2 ** ((now >= 0.7 * epochs) + (now >= 0.85 * epochs))
            optimizer.zero_grad()
            certified_loss(module, x[part], y[part], EPS * min(1.0, now / (0.4 * epochs)), method="ibp").backward()
            nn.utils.clip_grad_norm_(module.parameters(), CLIP)
            optimizer.step()
    return tightrope.Network.from_torch(module, x[:1])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", required=True)
    options.add_argument("--tightrope", default="tightrope")
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--seeds", type=int, default=3)
    options = options.parse_args()
    torch.set_num_threads(1)
    data = tightrope.data.load("mnist", "train", data_dir=options.data_dir)
    test = tightrope.data.load("mnist", "test", data_dir=options.data_dir)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    found = {"command": [], "torch loop": []}
    for seed in range(options.seeds):
        for side, runs in found.items():
            start = time.perf_counter()
            if side == "command":
                with tempfile.TemporaryDirectory() as folder:
                    place = os.path.join(folder, "run")
                    net = by_command(options.tightrope, options.data_dir, options.epochs, seed, place)
            else:
                net = by_torch(x, y, options.epochs, seed)
            trained = time.perf_counter() - start
            result = tightrope.certify(net, test, EPS, stages=["ibp", "crown"], timeout=None)
            runs.append((result.natural, result.certified))
            print(f"{side}, seed {seed}: natural {result.natural:.2%}, certified {result.certified:.2%}, {trained:.0f} s", flush=True)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print("| trained by | natural | certified | of each seed |\n|---|---|---|---|")
    for side, runs in found.items():
        told = [f"{100 * statistics.mean(v):.2f} ± {100 * statistics.stdev(v):.2f} %" for v in zip(*runs)]
        print(f"| {side} | {' | '.join(told)} | {', '.join(f'{100 * certified:.2f}' for _, certified in runs)} |")


if __name__ == "__main__":
    main()
