#!/usr/bin/env python3
"""The Python package beside auto_LiRPA: the same bounds of the same modules, and the ratio of times, in one run.

    pip install ./python torch
    PYTHONPATH=CHECKOUT_OF_AUTO_LIRPA python bench/python_vs.py [--threads 2] [--batches 16,64] [--seconds 2] [--only cnn3]

For CNN3 and CNN5, IBP, CROWN-IBP and CROWN: lower bounds of all margins alone, and with the gradients of all parameters.
Calls of both alternate; each takes its best batch size of those asked for. Times are processor time of the process, all
threads together, so that other work on the machine disturbs them little. Prints a Markdown table for docs/python.md and
the overhead of a call from Python over the engine's own time. Margins must agree to 1e-5 of their size.
"""

import argparse
import pathlib
import sys
import time

import torch
import tightrope.torch
from tightrope import Network

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compare import networks  # noqa: E402

METHODS = ["IBP", "CROWN-IBP", "CROWN"]
EPS = 0.1


def timed(calls, seconds, clock=time.process_time):
    """The best time of each call; they take turns until each has had `seconds`, and at least three turns."""
    best, spent = [float("inf")] * len(calls), [0.0] * len(calls)
    turns = 0
    while turns < 3 or min(spent) < seconds and max(spent) < 6 * seconds:
        for i, call in enumerate(calls):
            start = clock()
            call()
            took = clock() - start
            best[i], spent[i] = min(best[i], took), spent[i] + took
        turns += 1
    return best


def sides(module, method, batch, gradients):
    """Calls of both, and the difference of their margins."""
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    x, y = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10
    eye = torch.eye(10)
    C = eye[y][:, None] - eye[None]
    C = torch.stack([rows[[j for j in range(10) if j != label]] for rows, label in zip(C, y.tolist())])
    lirpa = BoundedModule(module, x)
    region = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=EPS))
    parameters = list(module.parameters())
    theirs = lambda: lirpa.compute_bounds(x=(region,), C=C, method=method, bound_upper=False)[0]
    ours = lambda: tightrope.torch.bounds(module, x, EPS, method=method.lower(), C=C, upper=False).lower

    def call(bound):
        if gradients:
            return lambda: torch.autograd.grad(
                (bound() ** 2).sum(), parameters if bound is ours else list(lirpa.parameters())
            )
        return lambda: _without(bound)

    with torch.no_grad():
        a, b = ours(), theirs()
    return call(ours), call(theirs), float(((a - b).abs() / b.abs().clamp(min=1)).max())


def _without(bound):
    with torch.no_grad():
        return bound()


def overhead(module, seconds):
    """Share of a call of `Network.bounds` that is not the engine's, batches of 128, in wall time."""
    x, y = torch.rand(128, 1, 28, 28), torch.arange(128) % 10
    net = Network.from_torch(module, x)
    array, labels = x.numpy(), y.tolist()
    question = {
        "x": array, "upper_end": None, "eps": EPS, "norm": "inf", "clip": None, "labels": labels, "matrix": None, "rows": 0,
        "upper": False, "layers": False, "taped": False, "alpha_steps": 0, "alpha_seconds": None,
    }  # fmt: skip
    for method in METHODS:
        engine = lambda: net._handle.seconds(question | {"method": method.lower()})
        inside, total = [], []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(total) < 5:
            inside.append(engine())
            start = time.perf_counter()
            net.bounds(array, EPS, method.lower(), y=labels, upper=False)
            total.append(time.perf_counter() - start)
        a, b = min(inside), min(total)
        print(
            f"{method}: {1e3 * b:.3f} ms a call from Python, {1e3 * a:.3f} ms in the engine, {100 * (b / a - 1):.1f} % more"
        )


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batches", default="16,64,128")
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--only", choices=["cnn3", "cnn5"])
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    tightrope.set_threads(options.threads)
    torch.manual_seed(0)
    failed = False
    print(
        "| network | bounds | | ms an image (batch) | auto_LiRPA (batch) | ratio | largest difference |\n|---|---|---|---|---|---|---|"
    )
    for name, build in networks(torch).items():
        if options.only not in (None, name):
            continue
        module = build()
        for method in METHODS:
            for gradients in (False, True):
                best, difference = [(float("inf"), 0)] * 2, 0.0
                for batch in map(int, options.batches.split(",")):
                    *calls, off = sides(module, method, batch, gradients)
                    difference = max(difference, off)
                    times = [(1e3 * t / batch, batch) for t in timed(calls, options.seconds)]
                    best = [min(pair) for pair in zip(best, times)]
                (a, p), (b, q) = best
                failed |= difference > 1e-5
                what = "with gradients" if gradients else "alone"
                print(
                    f"| {name.upper()} | {method} | {what} | {a:.4f} ({p}) | {b:.4f} ({q}) | {b / a:.1f} | {difference:.0e} |",
                    flush=True,
                )
    print()
    overhead(networks(torch)["cnn3"](), options.seconds)
    sys.exit("margins differ by more than 1e-5" if failed else 0)


if __name__ == "__main__":
    main()
