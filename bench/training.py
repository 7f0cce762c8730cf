#!/usr/bin/env python3
"""Training steps of this program beside a straightforward PyTorch implementation: same losses, networks, parameters, images,
threads and run.

    pip install torch
    python bench/training.py [--threads 1] [--batch 128] [--seconds 10] [--rounds 3] [--only PART] [--out FILE]

A step is loss, gradient and Adam. Builds the `step` example and, network by network and method by method, lets both sides
take turns; a side's figure is its fastest step, in images per second: of processor time with one thread, which other work on
the machine hardly disturbs, of wall time with more. Before that both sides' losses of the first step are compared where they
draw no random numbers. Adversarial points are those of eight steps of PGD. The multiply-adds that a step cannot do without are
told as GFLOP/s of this program, to be held against `measure peak`; those of CROWN-IBP depend on the parameters. auto_LiRPA's
CROWN-IBP is timed too where it can be imported and takes the network; a checkout of it on PYTHONPATH will do.
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
CLASSES = 10
STEPS = 8
BOX_SHARE = 0.4
ALPHA = 0.5
METHODS = ["ibp", "crown-ibp", "sabr", "mtl-ibp"]
CELLS = [("cnn5", "1x28x28"), ("cnn5", "3x32x32"), ("cnn5-bn", "1x28x28"), ("cnn5-bn", "3x32x32"), ("cnn7-bn", "3x32x32")]
# Channels, kernel, stride and padding of the convolutions, before a hidden layer of 512.
CONVOLUTIONS = {
    "cnn5": [(16, 3, 1, 1), (16, 4, 2, 1), (32, 4, 2, 1)],
    "cnn7": [(64, 3, 1, 1), (64, 3, 1, 1), (128, 3, 2, 1), (128, 3, 1, 1), (128, 3, 1, 1)],
}


class Net:
    """A network with its losses in ordinary tensor operations; batch norms take the statistics of the clean batch."""

    def __init__(self, torch, name, shape, theta=None):
        self.torch, nn = torch, torch.nn
        preset, _, normed = name.partition("-")
        channels, layers = shape[0], []
        for out, kernel, stride, padding in CONVOLUTIONS[preset]:
            layers += [nn.Conv2d(channels, out, kernel, stride, padding)] + [nn.BatchNorm2d(out)] * bool(normed) + [nn.ReLU()]
            channels = out
        with torch.no_grad():
            flat = nn.Sequential(*[l for l in layers if isinstance(l, nn.Conv2d)])(torch.zeros(1, *shape)).numel()
        layers += [nn.Flatten(), nn.Linear(flat, 512)] + [nn.BatchNorm1d(512)] * bool(normed)
        layers += [nn.ReLU(), nn.Linear(512, CLASSES)]
        self.layers, self.model = layers, nn.Sequential(*layers)
        self.parameters = list(self.model.parameters())
        if theta is not None:
            nn.utils.vector_to_parameters(theta.clone(), self.parameters)

    def affine(self, layer, x, weight, bias):
        functional = self.torch.nn.functional
        if isinstance(layer, self.torch.nn.Conv2d):
            return functional.conv2d(x, weight, bias, layer.stride, layer.padding)
        return functional.linear(x, weight, bias)

    def normed(self, layer):
        return isinstance(layer, (self.torch.nn.BatchNorm1d, self.torch.nn.BatchNorm2d))

    def line(self, layer, statistics, dimensions):
        """Factor and summand of a batch norm, to be applied to a tensor of so many dimensions."""
        mean, variance = statistics
        factor = layer.weight * (variance + layer.eps).rsqrt()
        shape = (1, -1) + (1,) * (dimensions - 2)
        return factor.view(shape), (layer.bias - mean * factor).view(shape)

    def forward(self, x, statistics=None):
        """Logits, and the statistics that the batch norms took: the batch's own unless some are given."""
        nn, own = self.torch.nn, {}
        for i, layer in enumerate(self.layers):
            if self.normed(layer):
                if statistics is None:
                    variance, mean = self.torch.var_mean(x, [0] + list(range(2, x.dim())), correction=0)
                    own[i] = (mean, variance)
                else:
                    own[i] = statistics[i]
                factor, summand = self.line(layer, own[i], x.dim())
                x = self.torch.addcmul(summand, x, factor)
            else:
                x = layer(x)
        return x, own

    def interval(self, center, radius, statistics):
        """Bounds of every pre-activation by its ReLU, and centre and radius before the last layer."""
        torch, bounds = self.torch, {}
        for i, layer in enumerate(self.layers[:-1]):
            if isinstance(layer, torch.nn.ReLU):
                low, high = center - radius, center + radius
                bounds[i] = (low, high)
                low, high = low.clamp(min=0), high.clamp(min=0)
                center, radius = (low + high) / 2, (high - low) / 2
            elif isinstance(layer, torch.nn.Flatten):
                center, radius = center.flatten(1), radius.flatten(1)
            elif self.normed(layer):
                factor, summand = self.line(layer, statistics[i], center.dim())
                center, radius = torch.addcmul(summand, center, factor), radius * factor.abs()
            else:
                center = self.affine(layer, center, layer.weight, layer.bias)
                radius = self.affine(layer, radius, layer.weight.abs(), None)
        return bounds, center, radius

    def ibp_margins(self, center, radius, y, statistics):
        _, center, radius = self.interval(center, radius, statistics)
        torch, last = self.torch, self.layers[-1]
        eye = torch.eye(CLASSES)
        rows = eye[y][:, None, :] - eye[None]
        weight = rows @ last.weight
        value = (weight @ center[:, :, None]).squeeze(2) + (rows @ last.bias[:, None]).squeeze(2)
        return value - (weight.abs() @ radius[:, :, None]).squeeze(2)

    def rivals(self, y):
        """Rows of the margins with the label's rivals alone, and their numbers."""
        torch = self.torch
        rivals = torch.tensor([[j for j in range(CLASSES) if j != label] for label in y.tolist()])
        return torch.eye(CLASSES)[y][:, None, :] - torch.eye(CLASSES)[rivals], rivals

    def crown_ibp_margins(self, center, radius, y, statistics):
        torch, functional = self.torch, self.torch.nn.functional
        bounds, _, _ = self.interval(center, radius, statistics)
        shapes, shape = {}, tuple(center.shape[1:])
        for i, layer in enumerate(self.layers):
            if isinstance(layer, torch.nn.Conv2d):
                out = tuple(bounds[next(j for j in range(i, len(self.layers)) if j in bounds)][0].shape[1:])
                shapes[i], shape = (shape, out), out
        rows, rivals = self.rivals(y)
        batch, count = rows.shape[:2]
        a, constant = rows, torch.zeros(batch, count)
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            if isinstance(layer, torch.nn.ReLU):
                low, high = (t.flatten(1)[:, None] for t in bounds[i])
                unstable = (low < 0) & (high > 0)
                slope = torch.where(unstable, high / (high - low).clamp(min=1e-12), (low >= 0).to(a.dtype))
                lower = torch.where(unstable, (high > -low).to(a.dtype), slope)
                intercept = torch.where(unstable, -low * slope, torch.zeros_like(low))
                negative, positive = a.clamp(max=0), a.clamp(min=0)
                constant = constant + (negative * intercept).sum(2)
                a = negative * slope + positive * lower
            elif self.normed(layer):
                factor, summand = (t.flatten() for t in self.line(layer, statistics[i], 2))
                tensor = a.view(batch, count, len(factor), -1)
                constant = constant + tensor.sum(3) @ summand
                a = (tensor * factor[:, None]).flatten(2)
            elif isinstance(layer, torch.nn.Conv2d):
                shape_in, shape_out = shapes[i]
                tensor = a.reshape(batch * count, *shape_out)
                constant = constant + (tensor.sum((2, 3)) @ layer.bias).reshape(batch, count)
                spare = [
                    n - ((m - 1) * s - 2 * p + k)
                    for n, m, s, p, k in zip(shape_in[1:], shape_out[1:], layer.stride, layer.padding, layer.kernel_size)
                ]
                tensor = functional.conv_transpose2d(tensor, layer.weight, None, layer.stride, layer.padding, spare)
                a = tensor.reshape(batch, count, -1)
            elif isinstance(layer, torch.nn.Linear):
                constant = constant + a @ layer.bias
                a = a @ layer.weight
        center, radius = center.flatten(1)[:, :, None], radius.flatten(1)[:, :, None]
        bound = constant + (a @ center).squeeze(2) - (a.abs() @ radius).squeeze(2)
        return torch.zeros(batch, CLASSES).scatter(1, rivals, bound)

    def attack(self, x, y, statistics):
        """The end of a descent in the ball."""
        torch = self.torch
        statistics = {i: tuple(s.detach() for s in pair) for i, pair in statistics.items()}
        low, high = (x - EPSILON).clamp(min=0), (x + EPSILON).clamp(max=1)
        point = torch.minimum(torch.maximum(x + EPSILON * (2 * torch.rand_like(x) - 1), low), high)
        for _ in range(STEPS):
            point.requires_grad_()
            loss = torch.nn.functional.cross_entropy(self.forward(point, statistics)[0], y)
            (gradient,) = torch.autograd.grad(loss, point)
            with torch.no_grad():
                point = torch.minimum(torch.maximum(point + 0.25 * EPSILON * gradient.sign(), low), high)
        return point

    def operations(self, method, x):
        """Multiplications and additions of a step's convolutions and linear layers, or None where that depends on θ."""
        if method == "crown-ibp":
            return None
        torch, counts = self.torch, []
        with torch.no_grad():
            for layer in self.layers:
                before, x = x, layer(x)
                if isinstance(layer, torch.nn.Conv2d):
                    counts.append(2 * x.numel() * layer.weight[0].numel())
                elif isinstance(layer, torch.nn.Linear):
                    counts.append(2 * x.numel() * before.shape[1])
        values, adjoint = sum(counts), sum(counts[1:])
        trained = 2 * values + adjoint
        total = 2 * trained + (trained if any(map(self.normed, self.layers)) else 0)
        if method in ["sabr", "mtl-ibp"]:
            total += STEPS * 2 * values + values
        return total + (trained if method == "mtl-ibp" else 0)

    def loss(self, method, x, y):
        torch, functional = self.torch, self.torch.nn.functional
        statistics = self.forward(x)[1] if any(map(self.normed, self.layers)) else {}
        middle, reach = x, EPSILON
        if method in ["sabr", "mtl-ibp"]:
            point = self.attack(x, y, statistics)
        if method == "sabr":
            away = (1 - BOX_SHARE) * EPSILON
            middle, reach = torch.minimum(torch.maximum(point, x - away), x + away).clamp(0, 1), BOX_SHARE * EPSILON
        low, high = (middle - reach).clamp(min=0), (middle + reach).clamp(max=1)
        margins = self.crown_ibp_margins if method == "crown-ibp" else self.ibp_margins
        loss = functional.cross_entropy(-margins((low + high) / 2, (high - low) / 2, y, statistics), y)
        if method == "mtl-ibp":
            adversarial = functional.cross_entropy(self.forward(point, statistics)[0], y)
            loss = ALPHA * loss + (1 - ALPHA) * adversarial
        return loss


def lirpa_loss(torch, net, x, y):
    """The CROWN-IBP loss of auto_LiRPA on the same network."""
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    net.model.train()
    model = BoundedModule(net.model, x)
    model.train()
    low, high = (x - EPSILON).clamp(min=0), (x + EPSILON).clamp(max=1)
    region = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=EPSILON, x_L=low, x_U=high))
    rows, rivals = net.rivals(y)

    def loss():
        model(region)
        bound = model.compute_bounds(x=(region,), C=rows, method="CROWN-IBP", bound_upper=False)[0]
        margins = torch.zeros(len(x), CLASSES).scatter(1, rivals, bound)
        return torch.nn.functional.cross_entropy(-margins, y)

    return loss, list(model.parameters())


class Steps:
    """Steps of Adam on a loss of PyTorch's."""

    def __init__(self, torch, loss, parameters):
        self.torch, self.loss, self.optimiser = torch, loss, torch.optim.Adam(parameters, lr=5e-4)

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def fastest(self, seconds):
        clock = time.process_time if self.torch.get_num_threads() == 1 else time.perf_counter
        best, begin, steps = float("inf"), time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - begin < seconds:
            start = clock()
            self.step()
            best = min(best, clock() - start)
            steps += 1
        return best


def ours(program, cell, method, options, folder=None):
    name, shape = cell
    command = [program, name, method, shape, str(options.batch), str(options.seconds)] + ([folder] if folder else [])
    environment = {**os.environ, "TIGHTROPE_STEP_THREADS": str(options.threads)}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def read(torch, folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.float32)


def measure(torch, program, cell, method, options):
    """Seconds per step of each side, and the operations of a step."""
    name, shape = cell
    size = [int(n) for n in shape.split("x")]
    with tempfile.TemporaryDirectory() as folder:
        first = ours(program, cell, method, options, folder)
        theta, x = read(torch, folder, "theta"), read(torch, folder, "images").reshape(options.batch, *size)
    y = torch.arange(options.batch) % CLASSES
    net = Net(torch, name, size, theta)
    steps = {"pytorch": Steps(torch, lambda: net.loss(method, x, y), net.parameters)}
    theirs = steps["pytorch"].step()
    if method in ["ibp", "crown-ibp"] and not abs(theirs - first["loss"]) < 1e-3 * abs(theirs):
        sys.exit(f"{name} {method}: the losses are {first['loss']} and {theirs}; the times would mean nothing")
    best, operations = {"ours": first["seconds"]}, net.operations(method, x)
    if method == "crown-ibp" and options.lirpa:
        try:
            loss, parameters = lirpa_loss(torch, Net(torch, name, size, theta), x, y)
            steps["auto_lirpa"] = Steps(torch, loss, parameters)
            print(f"{name} auto_LiRPA: loss {steps['auto_lirpa'].step():.5f}, this program's {first['loss']:.5f}", file=sys.stderr)
        except Exception as error:  # an import or a conversion may fail in many ways
            steps.pop("auto_lirpa", None)
            print(f"{name}: auto_LiRPA is not timed: {type(error).__name__}: {error}", file=sys.stderr)
    for turn in range(options.rounds):
        for side, own in steps.items():
            best[side] = min(best.get(side, float("inf")), own.fastest(options.seconds))
        if turn > 0:
            best["ours"] = min(best["ours"], ours(program, cell, method, options)["seconds"])
    return best, operations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--only", default="", help="part of the names to measure, such as 'cnn5-bn 3x32x32 ibp'")
    parser.add_argument("--no-lirpa", dest="lirpa", action="store_false", help="leave auto_LiRPA out")
    parser.add_argument("--out", default="training.json")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is missing: pip install torch")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "tightrope", "--example", "step"], cwd=root, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    program = os.path.join(target, "release", "examples", "step")
    rows = []
    print(f"Images per second, batches of {options.batch}, threads: {options.threads}\n")
    print("| network | method | this program | PyTorch | ratio | auto_LiRPA | GFLOP/s |\n|---|---|---|---|---|---|---|")
    for cell in CELLS:
        for method in METHODS:
            if options.only not in f"{cell[0]} {cell[1]} {method} ":
                continue
            best, operations = measure(torch, program, cell, method, options)
            rates = {side: options.batch / seconds for side, seconds in best.items()}
            ratio = rates["ours"] / rates["pytorch"]
            lirpa = f"{rates['auto_lirpa']:.4g}" if "auto_lirpa" in rates else ""
            speed = f"{operations / best['ours'] * 1e-9:.3g}" if operations else ""
            label = f"{cell[0]}, {cell[1].replace('x', '×')}"
            figures = f"{rates['ours']:.4g} | {rates['pytorch']:.4g} | {ratio:.2f} | {lirpa} | {speed}"
            print(f"| {label} | {method} | {figures} |", flush=True)
            rows.append({"network": cell[0], "shape": cell[1], "method": method, "ratio": ratio, "operations": operations, **rates})
    document = {
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "batch": options.batch,
        "torch": torch.__version__,
        "rows": rows,
    }
    temporary = options.out + ".tmp"
    with open(temporary, "w") as file:
        json.dump(document, file, indent=1)
    os.replace(temporary, options.out)


if __name__ == "__main__":
    main()
