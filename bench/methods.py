#!/usr/bin/env python3
"""Trains one network by every method, certifies it, and prints a table of the results in Markdown.

    cargo build --release
    python3 bench/methods.py --out runs/methods [--eps 0.1 0.3] [--methods ibp,sabr] [--epochs 10] [--model cnn3]
                             [--seed 1] [--limit 1000] [--timeout 10] [--set KEY=VALUE]... [--data-dir FOLDER]

Goes on where it was stopped: finished runs are kept, begun ones resume. The table tells natural, adversarial and certified
accuracy on the first --limit test images and the processor seconds of training and of certification, with the machine and
the commands that give the same figures again.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys

# What a method is given besides its defaults: the published weights, which depend on the radius; that of exp-ibp at 0.1 is the
# best of 0.02, 0.1 and 0.3 on a validation split, as the published 0.02 is one for deeper networks and more epochs.
SETTINGS = {
    0.1: {"sabr": ["method.box_share=0.4"], "mtl-ibp": ["method.alpha=0.02"], "cc-ibp": ["method.alpha=0.02"],
          "exp-ibp": ["method.alpha=0.3"], "staps": ["method.box_share=0.4"]},
    0.3: {"sabr": ["method.box_share=0.9"], "mtl-ibp": ["method.alpha=0.5"], "cc-ibp": ["method.alpha=0.5"],
          "exp-ibp": ["method.alpha=0.5"], "staps": ["method.box_share=0.9"]},
}
# Methods that need more than a flag: what they train with instead of plain gradients. Along a guide's gradient one pair of
# members tells the slope; more of them, and more steps on the slopes, take hours.
ESTIMATORS = {"alpha-crown": ["method.slope_steps=3", "smoothing.kind=pgpe", "smoothing.population=2",
                              "smoothing.guide=crown-ibp", "smoothing.samples=1"]}


def seconds_of(folder, name):
    path = os.path.join(folder, name)
    try:
        with open(path) as file:
            return float(file.read())
    except OSError:
        return 0.0


def processor_seconds():
    """What finished children have used of all cores, which a machine with other work does not lengthen much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command, folder, name):
    """Runs a command; its processor time is added to what earlier attempts of it took."""
    before = processor_seconds()
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    spent = seconds_of(folder, name) + processor_seconds() - before
    if os.path.isdir(folder):
        with open(os.path.join(folder, name), "w") as file:
            file.write(f"{spent:.1f}")
    return result, spent


def cell(options, eps, method):
    folder = os.path.join(options.out, f"{method}-{eps:g}")
    settings = SETTINGS.get(eps, {}).get(method, []) + ESTIMATORS.get(method, []) + options.set
    train = [options.program, "train", "--dataset", "mnist", "--model", options.model, "--eps", f"{eps:g}", "--method", method,
             "--epochs", str(options.epochs), "--seed", str(options.seed), "--set", "train.eval_every=0", "--out", folder]
    for setting in settings:
        train += ["--set", setting]
    certify = [options.program, "certify", folder, "--limit", str(options.limit), "--timeout", f"{options.timeout:g}"]
    data = ["--data-dir", options.data_dir] if options.data_dir else []
    shown = [" ".join(["tightrope"] + train[1:]), " ".join(["tightrope"] + certify[1:])]
    if not os.path.exists(os.path.join(folder, "train.done")):
        resume = ["--resume"] if os.path.exists(os.path.join(folder, "config.toml")) else []
        result, _ = timed(train + data + resume, folder, "train.seconds")
        if result.returncode != 0:
            return None, shown
        open(os.path.join(folder, "train.done"), "w").close()
    summary = os.path.join(folder, "certify.summary.json")
    if not os.path.exists(summary):
        resume = ["--resume"] if os.path.exists(os.path.join(folder, "certify.jsonl")) else []
        result, _ = timed(certify + data + resume + ["--json"], folder, "certify.seconds")
        if result.returncode != 0:
            return None, shown
        with open(summary, "w") as file:
            file.write(result.stdout)
    with open(summary) as file:
        document = json.load(file)
    row = [document["result"][key]["value"] for key in ("natural", "adversarial", "certified")]
    return row + [seconds_of(folder, "train.seconds"), seconds_of(folder, "certify.seconds")], shown


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(os.path.dirname(__file__), "..", "target", "release", "tightrope"))
    parser.add_argument("--out", default="runs/methods")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--methods", default="")
    parser.add_argument("--model", default="cnn3")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data-dir", default="")
    options = parser.parse_args()
    methods = options.methods.split(",") if options.methods else methods_of(options.program)
    os.makedirs(options.out, exist_ok=True)
    print(f"{options.model}, MNIST, {options.epochs} epochs, seed {options.seed}, first {options.limit} test images, "
          f"{options.timeout:g} s an image; processor seconds of {platform.processor() or platform.machine()}, {os.cpu_count()} cores.\n")
    print("| ε | method | natural | adversarial | certified | training | certification |\n|---|---|---|---|---|---|---|")
    commands = []
    for eps in options.eps:
        for method in methods:
            row, shown = cell(options, eps, method)
            commands += shown
            if row is None:
                print(f"| {eps:g} | `{method}` | failed | | | | |", flush=True)
                continue
            accuracy = " | ".join(f"{100 * value:.1f} %" for value in row[:3])
            print(f"| {eps:g} | `{method}` | {accuracy} | {row[3]:.0f} s | {row[4]:.0f} s |", flush=True)
    print("\n```sh\n" + "\n".join(commands) + "\n```")


def methods_of(program):
    keys = subprocess.run([program, "recipe", "list", "mnist-0.1/cnn3/", "--json"], stdout=subprocess.PIPE, text=True, check=True)
    names = [recipe["name"].split("/")[2] for recipe in json.loads(keys.stdout)]
    # Every method in its order once; those without a gradient have recipes by PGPE alone.
    return list(dict.fromkeys(name.rpartition("-")[0] for name in names))


if __name__ == "__main__":
    sys.exit(main())
