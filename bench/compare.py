#!/usr/bin/env python3
"""The fused engine beside plain PyTorch: the same bounds, the same networks, the same threads.

    pip install torch
    python bench/compare.py [--threads 2] [--out comparison.json] [--quick]

Builds and runs the `measure` example, times straightforward tensor implementations of the same bounds
(IBP; CROWN by conv_transpose over batch x rows; a loop over members for populations) and prints both
with their ratio. auto_LiRPA is timed too where it can be imported.
"""

import argparse
import json
import os
import platform
import subprocess
import time


def networks(torch):
    nn = torch.nn
    return {
        "cnn3": lambda: nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 10)
        ),
        "cnn5": lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(1568, 512), nn.ReLU(), nn.Linear(512, 10),
        ),
    }


class TensorBounds:
    """IBP, CROWN-IBP and CROWN with ordinary tensor operations."""

    def __init__(self, torch, layers):
        self.torch, self.layers = torch, list(layers)

    def affine(self, layer, x, weight, bias):
        functional = self.torch.nn.functional
        if isinstance(layer, self.torch.nn.Conv2d):
            return functional.conv2d(x, weight, bias, layer.stride, layer.padding)
        return functional.linear(x, weight, bias)

    def margin_rows(self, labels):
        eye = self.torch.eye(10)
        return eye[labels][:, None, :] - eye[None]

    def interval(self, x, eps):
        """Bounds of every pre-activation, and centre and radius before the last layer."""
        torch = self.torch
        center, radius, bounds = x, torch.full_like(x, eps), {}
        for i, layer in enumerate(self.layers[:-1]):
            if isinstance(layer, torch.nn.ReLU):
                low, high = (center - radius).clamp(min=0), (center + radius).clamp(min=0)
                center, radius = (low + high) / 2, (high - low) / 2
            elif isinstance(layer, torch.nn.Flatten):
                center, radius = center.flatten(1), radius.flatten(1)
            else:
                center = self.affine(layer, center, layer.weight, layer.bias)
                radius = self.affine(layer, radius, layer.weight.abs(), None)
                bounds[i] = (center - radius, center + radius)
        return bounds, center, radius

    def ibp(self, x, labels, eps):
        _, center, radius = self.interval(x, eps)
        last = self.layers[-1]
        rows = self.margin_rows(labels)
        weight = rows @ last.weight
        value = (weight @ center[:, :, None]).squeeze(2) + (rows @ last.bias[:, None]).squeeze(2)
        return value - (weight.abs() @ radius[:, :, None]).squeeze(2)

    def back(self, x, eps, start, rows, bounds, shapes):
        """Lower bounds of `rows` [B, R, n] on the output of layer `start`."""
        torch = self.torch
        batch, count = rows.shape[:2]
        a, constant = rows, torch.zeros(batch, count)
        for i in range(start, -1, -1):
            layer = self.layers[i]
            if isinstance(layer, torch.nn.ReLU):
                low, high = (t.flatten(1)[:, None] for t in bounds[i - 1])
                unstable = (low < 0) & (high > 0)
                slope = torch.where(unstable, high / (high - low).clamp(min=1e-12), (low >= 0).to(a.dtype))
                lower = torch.where(unstable, (high > -low).to(a.dtype), slope)
                intercept = torch.where(unstable, -low * slope, torch.zeros_like(low))
                negative, positive = a.clamp(max=0), a.clamp(min=0)
                constant = constant + (negative * intercept).sum(2)
                a = negative * slope + positive * lower
            elif isinstance(layer, torch.nn.Conv2d):
                shape_in, shape_out = shapes[i]
                tensor = a.reshape(batch * count, *shape_out)
                constant = constant + (tensor.sum((2, 3)) @ layer.bias).reshape(batch, count)
                spare = [
                    n - ((m - 1) * s - 2 * p + k)
                    for n, m, s, p, k in zip(shape_in[1:], shape_out[1:], layer.stride, layer.padding, layer.kernel_size)
                ]
                tensor = torch.nn.functional.conv_transpose2d(tensor, layer.weight, None, layer.stride, layer.padding, spare)
                a = tensor.reshape(batch, count, -1)
            elif isinstance(layer, torch.nn.Linear):
                constant = constant + a @ layer.bias
                a = a @ layer.weight
        flat = x.flatten(1)[:, :, None]
        return constant + (a @ flat).squeeze(2) - eps * a.abs().sum(2)

    def crown(self, x, labels, eps, intermediate_ibp=False):
        torch = self.torch
        shapes, shape = {}, tuple(x.shape[1:])
        for i, layer in enumerate(self.layers):
            if isinstance(layer, torch.nn.Conv2d):
                with torch.no_grad():
                    out = tuple(layer(torch.zeros(1, *shape)).shape[1:])
                shapes[i] = (shape, out)
                shape = out
        bounds, _, _ = self.interval(x, eps)
        if not intermediate_ibp:
            first = min(bounds)
            for i in [i for i in sorted(bounds) if i != first]:
                size = bounds[i][0].flatten(1).shape[1]
                eye = torch.eye(size).expand(len(x), -1, -1)
                low = self.back(x, eps, i, eye, bounds, shapes)
                high = -self.back(x, eps, i, -eye, bounds, shapes)
                bounds[i] = (low, high)
        return self.back(x, eps, len(self.layers) - 1, self.margin_rows(labels), bounds, shapes)


def best(work, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_torch(torch, quick):
    results = {}
    for preset, make in networks(torch).items():
        torch.manual_seed(1)
        model = make()
        parameters = list(model.parameters())
        tensors = TensorBounds(torch, model)
        methods = {
            "clean": (64, lambda x, y: model(x)),
            "ibp": (128 if preset == "cnn3" else 16, lambda x, y: tensors.ibp(x, y, 0.1)),
            "crown-ibp": (128 if preset == "cnn3" else 16, lambda x, y: tensors.crown(x, y, 0.1, True)),
            "crown": (16 if preset == "cnn3" else 2, lambda x, y: tensors.crown(x, y, 0.1)),
        }
        for method, (batch, forward) in methods.items():
            runs = (2 if quick else 5) if method == "crown" else (5 if quick else 20)
            x, y = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10

            def plain():
                with torch.no_grad():
                    forward(x, y)

            def gradient():
                torch.autograd.grad((forward(x, y) ** 2).sum(), parameters)

            results[f"{preset}-1 {method} random"] = best(plain, runs) * 1e3 / batch
            results[f"{preset}-1 {method} random + gradient"] = best(gradient, runs) * 1e3 / batch
        if preset == "cnn3":
            x, y = torch.rand(128, 1, 28, 28), torch.arange(128) % 10

            def member():
                with torch.no_grad():
                    saved = [p.clone() for p in parameters]
                    [p.add_(torch.randn_like(p), alpha=1e-3) for p in parameters]
                    tensors.ibp(x, y, 0.1)
                    [p.copy_(s) for p, s in zip(parameters, saved)]

            results["cnn3-1 population ibp random"] = best(member, 10) * 1e3 / 128
    return results


def measure_lirpa(torch):
    """auto_LiRPA's CROWN bounds, where it runs."""
    try:
        from auto_LiRPA import BoundedModule, BoundedTensor
        from auto_LiRPA.perturbations import PerturbationLpNorm
    except Exception as error:  # an import may fail in many ways on a newer Python
        print(f"auto_LiRPA is not timed: {type(error).__name__}: {error}")
        return {}
    results = {}
    for preset, batch in [("cnn3", 16), ("cnn5", 2)]:
        x = torch.rand(batch, 1, 28, 28)
        model = BoundedModule(networks(torch)[preset](), x)
        region = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=0.1))
        work = lambda: model.compute_bounds(x=(region,), method="CROWN", bound_upper=False)
        results[f"{preset}-1 crown random"] = best(work, 3) * 1e3 / batch
    return results


def measure_fused(root, threads):
    command = ["cargo", "run", "--release", "-q", "-p", "tightrope-fused", "--example", "measure", "--", "-1 "]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TIGHTROPE_MEASURE_THREADS": str(threads)}
    output = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout
    return {entry["name"]: entry["ms_per_image"] for entry in map(json.loads, output.splitlines())}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--out", default="comparison.json")
    arguments.add_argument("--quick", action="store_true", help="fewer runs")
    options = arguments.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    fused = measure_fused(root, options.threads)
    tensors = measure_torch(torch, options.quick)
    lirpa = measure_lirpa(torch)
    rows = []
    print(f"{'ms per image':42} {'fused':>10} {'PyTorch':>10} {'ratio':>8} {'auto_LiRPA':>11}")
    for name, ours in fused.items():
        theirs, reference = tensors.get(name), lirpa.get(name)
        ratio = theirs / ours if theirs and ours else None
        rows.append({"name": name, "fused": ours, "pytorch": theirs, "ratio": ratio, "auto_lirpa": reference})
        show = lambda value, form: format(value, form) if value is not None else "-"
        print(f"{name:42} {ours:10.4f} {show(theirs, '10.4f'):>10} {show(ratio, '8.1f'):>8} {show(reference, '11.2f'):>11}")
    document = {"machine": platform.processor() or platform.machine(), "threads": options.threads,
                "torch": torch.__version__, "rows": rows}
    temporary = options.out + ".tmp"
    with open(temporary, "w") as file:
        json.dump(document, file, indent=1)
    os.replace(temporary, options.out)


if __name__ == "__main__":
    main()
