#!/usr/bin/env python3
"""The fused engine beside plain PyTorch: same bounds, same networks, same parameters, same threads, one run.

    pip install torch
    python bench/compare.py [--threads 2] [--out comparison.json] [--quick] [--only PART] [--batch N]

Builds and runs the `measure` example, times straightforward tensor implementations of the same bounds (IBP;
CROWN by conv_transpose over batch x rows; populations by a loop over members and by vmap), checks that both
compute the same margins, and prints the best times of each with their ratio. auto_LiRPA is timed too where
it can be imported, CROWN and CROWN-IBP; a checkout of it on PYTHONPATH will do. With one thread both sides are
given in processor time, with more in wall time, which other work on the machine disturbs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

EPSILON = 0.1


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

    def interval(self, x):
        """Bounds of every pre-activation, and centre and radius before the last layer."""
        torch = self.torch
        center, radius, bounds = x, torch.full_like(x, EPSILON), {}
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

    def ibp(self, x, labels):
        _, center, radius = self.interval(x)
        last = self.layers[-1]
        rows = self.margin_rows(labels)
        weight = rows @ last.weight
        value = (weight @ center[:, :, None]).squeeze(2) + (rows @ last.bias[:, None]).squeeze(2)
        return value - (weight.abs() @ radius[:, :, None]).squeeze(2)

    def back(self, x, start, rows, bounds, shapes):
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
        return constant + (a @ flat).squeeze(2) - EPSILON * a.abs().sum(2)

    def crown(self, x, labels, intermediate_ibp=False):
        torch = self.torch
        shapes, shape = {}, tuple(x.shape[1:])
        for i, layer in enumerate(self.layers):
            if isinstance(layer, torch.nn.Conv2d):
                with torch.no_grad():
                    out = tuple(layer(torch.zeros(1, *shape)).shape[1:])
                shapes[i] = (shape, out)
                shape = out
        bounds, _, _ = self.interval(x)
        if not intermediate_ibp:
            first = min(bounds)
            for i in [i for i in sorted(bounds) if i != first]:
                size = bounds[i][0].flatten(1).shape[1]
                eye = torch.eye(size).expand(len(x), -1, -1)
                low = self.back(x, i, eye, bounds, shapes)
                high = -self.back(x, i, -eye, bounds, shapes)
                bounds[i] = (low, high)
        return self.back(x, len(self.layers) - 1, self.margin_rows(labels), bounds, shapes)


def best(work, runs):
    """Seconds of the fastest run; with one thread its processor time, which other work on the machine hardly touches."""
    import torch

    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(runs):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def load(torch, folder, name):
    with open(os.path.join(folder, name + ".f32"), "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.float32)


def model_of(torch, preset, kind, folder):
    """The preset with the very parameters that the fused engine is timed with."""
    model = networks(torch)[preset]()
    torch.nn.utils.vector_to_parameters(load(torch, folder, f"{preset}-1-{kind}-theta"), model.parameters())
    return model


def population_loop(torch, model, tensors, x, y):
    parameters = list(model.parameters())

    def member():
        with torch.no_grad():
            saved = [p.clone() for p in parameters]
            [p.add_(torch.randn_like(p), alpha=1e-3) for p in parameters]
            tensors.ibp(x, y)
            [p.copy_(s) for p, s in zip(parameters, saved)]

    return member


def population_vmap(torch, model, x, y, members):
    """`members` perturbed networks at once."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    functional = torch.nn.functional

    def ibp(values):
        center, radius = x, torch.full_like(x, EPSILON)
        for name, layer in list(model.named_children())[:-1]:
            if isinstance(layer, torch.nn.ReLU):
                low, high = (center - radius).clamp(min=0), (center + radius).clamp(min=0)
                center, radius = (low + high) / 2, (high - low) / 2
            elif isinstance(layer, torch.nn.Flatten):
                center, radius = center.flatten(1), radius.flatten(1)
            else:
                weight, bias = values[name + ".weight"], values[name + ".bias"]
                center = functional.conv2d(center, weight, bias, layer.stride, layer.padding)
                radius = functional.conv2d(radius, weight.abs(), None, layer.stride, layer.padding)
        name = list(model.named_children())[-1][0]
        eye = torch.eye(10)
        rows = eye[y][:, None, :] - eye[None]
        weight = rows @ values[name + ".weight"]
        return (weight @ center[:, :, None]).squeeze(2) - (weight.abs() @ radius[:, :, None]).squeeze(2)

    def work():
        with torch.no_grad():
            values = {k: p + 1e-3 * torch.randn(members, *p.shape) for k, p in parameters.items()}
            torch.func.vmap(ibp)(values)

    return work


def check(torch, preset, kind, tensors, folder):
    """Largest difference of the margins of both sides, relative to the largest margin."""
    x = load(torch, folder, f"{preset}-1-{kind}-x").reshape(4, 1, 28, 28)
    y = torch.arange(4)
    worst = 0.0
    for method, work in [("ibp", tensors.ibp), ("crown-ibp", lambda x, y: tensors.crown(x, y, True)), ("crown", tensors.crown)]:
        with torch.no_grad():
            mine = work(x, y).flatten()
        ours = load(torch, folder, f"{preset}-1-{kind}-{method}")
        difference = ((mine - ours).abs().max() / (1 + mine.abs().max())).item()
        if not difference < 1e-4:
            sys.exit(f"{preset} {kind} {method}: the two sides differ by {difference:.2e}; the times would mean nothing")
        worst = max(worst, difference)
    return worst


def measure_torch(torch, quick, folder, wanted, images):
    results, differences = {}, {}
    for preset in networks(torch):
        for kind in ["random", "stable"]:
            model = model_of(torch, preset, kind, folder)
            parameters = list(model.parameters())
            tensors = TensorBounds(torch, model)
            differences[f"{preset} {kind}"] = check(torch, preset, kind, tensors, folder)
            small = preset == "cnn3"
            methods = {
                "clean": (images or 64, lambda x, y: model(x)),
                "ibp": (images or (128 if small else 16), tensors.ibp),
                "crown-ibp": (images or (128 if small else 16), lambda x, y: tensors.crown(x, y, True)),
                "crown": (16 if small else 2, tensors.crown),
            }
            for method, (batch, forward) in methods.items():
                name = f"{preset}-1 {method} {kind}"
                runs = (2 if quick else 5) if method == "crown" else (5 if quick else 20)
                x, y = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10

                def plain():
                    with torch.no_grad():
                        forward(x, y)

                def gradient():
                    torch.autograd.grad((forward(x, y) ** 2).sum(), parameters)

                if wanted(name):
                    results[name] = best(plain, runs) * 1e3 / batch
                if wanted(name + " + gradient"):
                    results[name + " + gradient"] = best(gradient, runs) * 1e3 / batch
            name = f"{preset}-1 population ibp {kind}"
            if small and wanted(name):
                x, y = torch.rand(128, 1, 28, 28), torch.arange(128) % 10
                loop = best(population_loop(torch, model, tensors, x, y), 10) * 1e3 / 128
                vmap = best(population_vmap(torch, model, x, y, 8), 3) * 1e3 / (8 * 128)
                print(f"{name}: PyTorch loop {loop:.4f}, vmap {vmap:.4f} ms per image and member")
                results[name] = min(loop, vmap)
    return results, differences


def measure_lirpa(torch, folder, quick, wanted, images):
    """auto_LiRPA's CROWN and CROWN-IBP bounds of margins, where it runs."""
    try:
        from auto_LiRPA import BoundedModule, BoundedTensor
        from auto_LiRPA.perturbations import PerturbationLpNorm
    except Exception as error:  # an import may fail in many ways on a newer Python
        print(f"auto_LiRPA is not timed: {type(error).__name__}: {error}")
        return {}
    results = {}
    for preset, small in [("cnn3", True), ("cnn5", False)]:
        methods = {"crown": 16 if small else 2, "crown-ibp": images or (128 if small else 16)}
        for method, batch in methods.items():
            name = f"{preset}-1 {method} random"
            if not (wanted(name) or wanted(name + " + gradient")):
                continue
            x, y = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10
            model = BoundedModule(model_of(torch, preset, "random", folder), x)
            region = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=EPSILON))
            # Margins with the label's rivals alone, as the tool's own training loops ask for them.
            rivals = torch.tensor([[j for j in range(10) if j != label] for label in y.tolist()])
            rows = torch.eye(10)[y][:, None, :] - torch.eye(10)[rivals]
            parameters = list(model.parameters())

            def bound():
                return model.compute_bounds(x=(region,), C=rows, method=method.upper(), bound_upper=False)[0]

            def plain():
                with torch.no_grad():
                    bound()

            def gradient():
                torch.autograd.grad((bound() ** 2).sum(), parameters)

            runs = 3 if quick or method == "crown" else 10
            if wanted(name):
                results[name] = best(plain, runs) * 1e3 / batch
            if method == "crown-ibp" and wanted(name + " + gradient"):
                results[name + " + gradient"] = best(gradient, runs) * 1e3 / batch
    return results


def run_measure(root, environment, *arguments):
    command = ["cargo", "run", "--release", "-q", "-p", "tightrope-fused", "--example", "measure", "--", *arguments]
    return subprocess.run(command, cwd=root, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True).stdout


def show(value, form):
    return format(value, form) if value is not None else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", default="comparison.json")
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--only", default="", help="part of the names to measure, such as 'cnn3-1 crown'")
    parser.add_argument("--batch", type=int, help="images at once, but for PyTorch's CROWN, instead of a batch that suits the network")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is missing: pip install torch")

    torch.set_num_threads(options.threads)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    with tempfile.TemporaryDirectory() as folder:
        run_measure(root, {"TIGHTROPE_MEASURE_DUMP": folder})
        settings = {"TIGHTROPE_MEASURE_THREADS": str(options.threads)}
        if options.batch:
            settings["TIGHTROPE_MEASURE_BATCH"] = str(options.batch)
        output = run_measure(root, settings, options.only or "-1 ")
        fused = {entry["name"]: entry["ms_per_image"] for entry in map(json.loads, output.splitlines())}
        wanted = lambda name: options.only in name
        tensors, differences = measure_torch(torch, options.quick, folder, wanted, options.batch)
        lirpa = measure_lirpa(torch, folder, options.quick, wanted, options.batch)
    rows = []
    print(f"{'ms per image, ' + str(options.threads) + ' threads':42} {'fused':>10} {'PyTorch':>10} {'ratio':>8} {'auto_LiRPA':>11}")
    for name, ours in fused.items():
        theirs, reference = tensors.get(name), lirpa.get(name)
        ratio = theirs / ours if theirs and ours else None
        rows.append({"name": name, "fused": ours, "pytorch": theirs, "ratio": ratio, "auto_lirpa": reference})
        print(f"{name:42} {ours:10.4f} {show(theirs, '10.4f'):>10} {show(ratio, '8.1f'):>8} {show(reference, '11.2f'):>11}")
    print(f"largest relative difference of the margins: {max(differences.values()):.1e}")
    document = {
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "margin_difference": differences,
        "rows": rows,
    }
    temporary = options.out + ".tmp"
    with open(temporary, "w") as file:
        json.dump(document, file, indent=1)
    os.replace(temporary, options.out)


if __name__ == "__main__":
    main()
