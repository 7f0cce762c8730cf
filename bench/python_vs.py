#!/usr/bin/env python3
"""The Python package beside auto_LiRPA: the same bounds of the same modules, and the ratio of times, in one run.

    pip install ./python torch
    PYTHONPATH=CHECKOUT_OF_AUTO_LIRPA python bench/python_vs.py [--threads 1] [--batches 4,16,64,128] [--seconds 2]

For CNN3 and CNN5, IBP, CROWN-IBP and CROWN: lower bounds of all margins alone, and with the gradients of all parameters.
Calls of both alternate; each side takes its best batch size of those asked for. Where auto_LiRPA has no room for a batch in
`--memory` GiB, or one call of it would take longer than `--longest` seconds, it is asked for the smaller ones only. Times are
processor time of the process, all threads together, so that other work on the machine disturbs them little. Prints a Markdown
table for docs/python.md. Margins of four images in double precision must agree to 1e-5 of their size; those in single
precision, whose sums either side adds up in its own order, to 1e-4.
"""

import argparse
import gc
import pathlib
import platform
import resource
import sys
import time

import torch
import tightrope.torch

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


def sides(module, method, batch):
    """Functions that give both sides' margins, with the parameters that they depend on."""
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    kind = next(module.parameters()).dtype
    x, y = torch.rand(batch, 1, 28, 28, dtype=kind), torch.arange(batch) % 10
    eye = torch.eye(10, dtype=kind)
    C = eye[y][:, None] - eye[None]
    C = torch.stack([rows[[j for j in range(10) if j != label]] for rows, label in zip(C, y.tolist())])
    lirpa = BoundedModule(module, x)
    region = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=EPS))
    theirs = lambda: lirpa.compute_bounds(x=(region,), C=C, method=method, bound_upper=False)[0]
    ours = lambda: tightrope.torch.bounds(module, x, EPS, method=method.lower(), clip=None, C=C, upper=False).lower
    return (ours, list(module.parameters())), (theirs, list(lirpa.parameters()))


def call(bound, parameters, gradients):
    """A call to be timed; it gives the margins."""

    def plain():
        with torch.no_grad():
            return bound()

    def differentiated():
        margins = bound()
        torch.autograd.grad((margins**2).sum(), parameters)
        return margins.detach()

    return differentiated if gradients else plain


def first(call):
    """The margins of a first call and its time; nothing if there is no room for it."""
    start = time.process_time()
    try:
        return call(), time.process_time() - start
    except (RuntimeError, MemoryError) as problem:
        if isinstance(problem, RuntimeError) and "memory" not in str(problem):
            raise
    return None


def apart(a, b):
    """The largest difference of margins, relative to their size (absolute below 1)."""
    return float(((a - b).abs() / b.abs().clamp(min=1)).max())


def in_double(module, method):
    """The largest difference in double precision."""
    module.double()
    with torch.no_grad():
        (ours, _), (theirs, _) = sides(module, method, 4)
        difference = apart(ours(), theirs())
    module.float()
    return difference


def cell(module, method, gradients, options):
    """Best time for an image and its batch of both sides, and the largest difference of margins."""
    best, difference, longest = [(float("inf"), 0)] * 2, 0.0, 0.0
    for batch in map(int, options.batches.split(",")):
        ours, theirs = (call(*side, gradients) for side in sides(module, method, batch))
        calls, (margins, _) = [ours], first(ours)
        # What a call took at the last batch, an image.
        if longest * batch <= options.longest and (found := first(theirs)) is not None:
            other, took = found
            longest = took / batch
            difference = max(difference, apart(margins, other))
            calls.append(theirs)
        else:
            longest = float("inf")
        times = timed(calls, options.seconds)
        for i, took in enumerate(times):
            best[i] = min(best[i], (1e3 * took / batch, batch))
        del calls, ours, theirs, margins
        gc.collect()
    return *best, difference


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batches", default="4,16,64,128", help="ascending")
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--memory", type=float, default=8.0)
    options.add_argument("--longest", type=float, default=60.0)
    options.add_argument("--only", choices=["cnn3", "cnn5"])
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    tightrope.set_threads(options.threads)
    torch.manual_seed(0)
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads each, torch {torch.__version__}\n")
    print("| network | bounds | | ms an image (batch) | auto_LiRPA (batch) | ratio | largest difference in f32 | in f64 |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    failed = False
    for name, build in networks(torch).items():
        if options.only not in (None, name):
            continue
        module = build()
        for method in METHODS:
            exact = in_double(module, method)
            for gradients in (False, True):
                (a, p), (b, q), difference = cell(module, method, gradients, options)
                failed |= difference > 1e-4 or exact > 1e-5
                what = "with gradients" if gradients else "alone"
                print(
                    f"| {name.upper()} | {method} | {what} | {a:.4f} ({p}) | {b:.4f} ({q}) | {b / a:.1f} "
                    f"| {difference:.0e} | {exact:.0e} |",
                    flush=True,
                )
    sys.exit("margins differ by more than 1e-4 in single or 1e-5 in double precision" if failed else 0)


if __name__ == "__main__":
    main()
