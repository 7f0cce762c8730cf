#!/usr/bin/env python3
"""Searches a learning rate and a weight with Optuna: it proposes, `tightrope` trains and certifies and keeps the book.

    python3 optuna_search.py PROGRAM SWEEP RECIPE TRIALS

SWEEP is a folder that `tightrope sweep RECIPE --prepare --out SWEEP` has made. Prints the numbers of the trials that
Optuna holds for the Pareto front of natural and certified accuracy.
"""

import json
import os
import subprocess
import sys

import optuna


def main(program, sweep, recipe, trials):
    def tightrope(*arguments, given=""):
        done = subprocess.run([program, *arguments], input=given, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def objective(trial):
        parameters = {
            "train.lr": trial.suggest_float("train.lr", 1e-4, 1e-1, log=True),
            "method.robust_weight": trial.suggest_float("method.robust_weight", 0.0, 1.0),
        }
        folder = os.path.join(sweep, f"optuna-{trial.number}")
        settings = [word for key, value in parameters.items() for word in ("--set", f"{key}={value!r}")]
        tightrope("train", recipe, *settings, "--out", folder)
        answer = tightrope("certify", folder, "--limit", "50", "--stages", "ibp,crown", "--json")
        result = json.loads(answer)["result"]
        natural, certified = (result[key]["value"] for key in ("natural", "certified"))
        told = {"parameters": parameters, "natural": natural, "certified": certified}
        record = json.loads(tightrope("sweep", "tell", sweep, given=json.dumps(told) + "\n"))
        assert record["trial"] == trial.number, record
        return natural, certified

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=3)
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    study.optimize(objective, n_trials=trials)
    print(json.dumps(sorted(trial.number for trial in study.best_trials)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
