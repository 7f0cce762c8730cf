#!/usr/bin/env python3
"""Decides public verification instances by one program or several in turn, and prints a table per category in Markdown.

    cargo build --release
    python3 bench/instances.py FOLDER... --out table.jsonl [--program NAME=PATH]... [--limit 120] [--threads N]

Each FOLDER holds `instances.json` (a list of {onnx, vnnlib, timeout_s, expected, tools_s}), networks and properties, or
folders of that kind. An instance ends at the shorter of its own limit and --limit. Programs take turns at each instance, so
that a busy machine slows all of them alike; seconds are those of the wall clock from start to end, networks and properties
read included, so that a category's sum can stand beside what the tools themselves published (on other machines). Goes on
where it was stopped: rows that are in the file are kept. Exits with 1 if a verdict contradicts the known one.
"""

import argparse
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERDICTS = {0: "holds", 1: "violated", 2: "unknown", 3: "timeout"}


def instances(folder):
    """(category, folder, instance) below a folder."""
    path = os.path.join(folder, "instances.json")
    if os.path.isfile(path):
        with open(path) as file:
            category = os.path.basename(os.path.abspath(folder))
            yield from ((category, folder, instance) for instance in json.load(file))
    else:
        inner = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        for below in (path for path in inner if os.path.isdir(path)):
            yield from instances(below)


def decide(program, folder, instance, limit, threads):
    """The verdict and the seconds of one run."""
    files = [os.path.join(folder, instance[key]) for key in ("onnx", "vnnlib")]
    command = [program, "verify", *files, "--timeout", f"{limit:g}", "--threads", str(threads), "--quiet"]
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - start
    return VERDICTS.get(done.returncode, "error"), seconds, done.stderr.strip()[-300:]


def table(rows, programs):
    """Markdown; seconds are summed over the instances that the program decided."""
    print("| category | instances | " + " | ".join(f"{name}: decided | seconds" for name in programs) + " | best tools, seconds |")
    print("|---" * (3 + 2 * len(programs)) + "|")
    categories = list(dict.fromkeys(row["category"] for row in rows))
    for category in [*categories, None]:
        chosen = [row for row in rows if category in (None, row["category"])]
        keys = list(dict.fromkeys(row["key"] for row in chosen))
        cells = []
        for name in programs:
            own = [row for row in chosen if row["program"] == name]
            decided = [row for row in own if row["verdict"] in ("holds", "violated")]
            cells.append(f"{len(decided)} | {sum(row['seconds'] for row in decided):.1f}")
        best = {row["key"]: row["best"] for row in chosen if row["best"] is not None}
        cells.append(f"{sum(best.values()):.1f}" + (f" ({len(best)})" if len(best) < len(keys) else ""))
        print(f"| {category or 'all'} | {len(keys)} | " + " | ".join(cells) + " |")
    for row in rows:
        if row["verdict"] not in ("holds", "violated"):
            print(f"\n{row['program']}, open: {row['key']} ({row['verdict']} after {row['seconds']:.0f} s)", end="")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--out", required=True, help="rows, a JSON object a line")
    parser.add_argument("--program", action="append", metavar="NAME=PATH",
                        help="may be repeated; target/release/tightrope unless given")
    parser.add_argument("--limit", type=float, default=120, help="seconds at most for an instance")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each run")
    options = parser.parse_args()
    built = os.path.join(os.path.dirname(HERE), "target", "release", "tightrope")
    programs = dict(text.split("=", 1) for text in options.program or [f"tightrope={built}"])
    for path in programs.values():
        if not os.access(path, os.X_OK):
            sys.exit(f"instances.py: {path}: no such program; run cargo build --release, or name one by --program NAME=PATH")
    rows = []
    if os.path.exists(options.out):
        with open(options.out) as file:
            rows = [json.loads(line) for line in file if line.endswith("\n")]
    done = {(row["program"], row["key"]) for row in rows}
    found = [entry for folder in options.folders for entry in instances(folder)]
    if not found:
        sys.exit("instances.py: no instances.json in or below these folders")
    wrong = 0
    with open(options.out, "a") as file:
        for number, (category, folder, instance) in enumerate(found):
            key = f"{category} {instance['onnx']} {instance['vnnlib']}"
            for name, path in programs.items():
                if (name, key) in done:
                    continue
                limit = min(options.limit, float(instance.get("timeout_s", options.limit)))
                verdict, seconds, words = decide(path, folder, instance, limit, options.threads)
                tools = [value for value in (instance.get("tools_s") or {}).values() if value is not None]
                row = {"program": name, "category": category, "key": key, "verdict": verdict, "seconds": round(seconds, 3),
                       "expected": instance["expected"], "best": min(tools, default=None)}
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                mark = words if verdict == "error" else ""
                print(f"{number + 1}/{len(found)} {name} {key}: {verdict} {seconds:.2f} s {mark}", file=sys.stderr)
    for row in rows:
        if row["verdict"] in ("holds", "violated") and row["expected"] in ("holds", "violated") and row["verdict"] != row["expected"]:
            wrong += 1
            print(f"CONTRADICTION {row['program']} {row['key']}: {row['verdict']}, known: {row['expected']}")
    table(rows, list(programs))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
