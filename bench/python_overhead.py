#!/usr/bin/env python3
"""What a call of `Network.bounds` from Python costs beyond the same call in Rust, in one process.

    pip install ./python torch
    python bench/python_overhead.py [--batch 128] [--threads 1] [--turns 40]

The same question is asked by `Network.bounds` and in Rust, by a program that has the inputs in memory and the network loaded:
the region is made of them and bounded. The two take turns; times are processor time of the process, all threads together. A
machine that others share changes its speed, by half from one moment to the next: the overhead is the median of what two calls
in a row differ by. Prints a Markdown table for docs/python.md.
"""

import argparse
import pathlib
import statistics
import sys
import time

import torch

import tightrope
from tightrope import Network

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compare import networks  # noqa: E402

METHODS = ["ibp", "crown-ibp", "crown"]
EPS = 0.1


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--turns", type=int, default=40)
    options = options.parse_args()
    torch.set_num_threads(1)
    tightrope.set_threads(options.threads)
    torch.manual_seed(0)
    x, y = torch.rand(options.batch, 1, 28, 28).numpy(), [i % 10 for i in range(options.batch)]
    print("| network | bounds | ms in Rust | overhead |\n|---|---|---|---|")
    for name, build in networks(torch).items():
        net = Network.from_torch(build(), torch.rand(1, 1, 28, 28))
        for method in METHODS:
            question = {
                "x": x, "upper_end": None, "eps": EPS, "norm": "inf", "clip": (0.0, 1.0), "method": method, "labels": y,
                "matrix": None, "rows": 0, "upper": False, "layers": False, "taped": False,
                "matrix_gradient": False, "alpha_steps": 0, "alpha_seconds": None,
            }  # fmt: skip
            inside, total = [], []
            # The first turn warms both up.
            for turn in range(options.turns + 1):
                # Workers that look for more work before they sleep are not counted to the call after.
                time.sleep(0.001)
                engine = net._handle.processor_seconds(question)
                time.sleep(0.001)
                start = time.process_time()
                net.bounds(x, EPS, method, clip=(0, 1), y=y, upper=False)
                called = time.process_time() - start
                if turn:
                    inside.append(engine)
                    total.append(called)
            beyond = statistics.median(call / engine for engine, call in zip(inside, total)) - 1
            print(
                f"| {name.upper()} | {method.upper()} | {1e3 * min(inside):.1f} | {100 * beyond:.1f} % |", flush=True
            )


if __name__ == "__main__":
    main()
