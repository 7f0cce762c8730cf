"""The command's jobs: training, certification, attacks, complete verification and the check of certificates.

All of them release the interpreter's lock, stop on Ctrl-C within a fraction of a second, and hand what happens to a callback
``progress(kind, event)``, ``event`` being a dictionary; a callback that returns False ends the job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tightrope import _tightrope, data as _data
from tightrope.errors import ConfigError, InputError
from tightrope.network import Network, clip_range, norm_name, radii
from tightrope.results import Result

Progress = Callable[[str, dict[str, Any]], Any]


class Training(Result):
    """A training run: ``network``, ``metrics`` (a dictionary for each epoch), ``finished`` and ``warning``."""

    network: Network

    def __init__(self, network: Network, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.network = network

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each epoch; those of an evaluation carry the prefix ``test_``."""
        flat = []
        for epoch in self._values["metrics"]:
            row = {key: value for key, value in epoch.items() if key != "test"}
            row |= {f"test_{key}": value for key, value in (epoch["test"] or {}).items()}
            flat.append(row)
        keys = {key: None for row in flat for key in row}
        return [{key: row.get(key) for key in keys} for row in flat]


class Certification(Result):
    """A certification: ``samples``, ``natural``, ``adversarial`` and ``certified`` (shares in [0, 1]), their 95 % intervals
    ``intervals``, ``unknown``, ``stages``, ``seconds`` and ``records``, one for each sample in order."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records."""
        return self._values["records"]


class Attack(Result):
    """An attack: ``samples``, ``natural`` and ``adversarial`` (shares in [0, 1]), ``attacks``, and arrays: ``x`` (the worst
    inputs met, in the shape of the data), ``margins`` ``[N]`` and ``broken`` ``[N]``."""

    x: np.ndarray
    margins: np.ndarray
    broken: np.ndarray

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each sample."""
        pairs = zip(self.margins.tolist(), self.broken.tolist())
        return [{"sample": i, "margin": margin, "broken": broken} for i, (margin, broken) in enumerate(pairs)]


class Verification(Result):
    """The answer about a property: ``verdict`` (holds, violated, unknown or timeout), ``counterexample``, ``lower_bound``,
    ``certificate`` (its path, if one was written), ``remark`` (why one that was asked for is missing, or why the verdict says
    less than the search did), ``statistics`` and ``seconds``."""

    @property
    def holds(self) -> bool:
        """Whether it is proved."""
        return self._values["verdict"] == "holds"


class Check(Result):
    """What a certificate proves: ``verdict`` (always holds), ``conjunctions``, ``splits``, ``leaves``, ``smallest_bound``."""


def recipes() -> dict[str, str]:
    """The published settings: name and summary of every recipe."""
    return dict(_tightrope.recipe_names())


def recipe(name: str, profile: str = "paper") -> str:
    """A recipe as TOML, at the size smoke, short or paper."""
    return _tightrope.recipe(name, profile)


def _begin(resume: bool, overwrite: bool, place: Any, name: str) -> str:
    """How the files at ``place`` are begun."""
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other; give one of them")
    if resume and place is None:
        raise ConfigError(f"resume=True needs {name}, the place of what is to go on")
    return "resume" if resume else "overwrite" if overwrite else "create"


def _count(name: str, value: Any) -> None:
    """Refuses what is no number of things."""
    if value is not None and not (isinstance(value, (int, np.integer)) and value >= 0):
        raise InputError(f"{name}={value!r}: give a whole number >= 0")


def train(
    config: str | os.PathLike[str] | dict[str, Any],
    *,
    profile: str = "paper",
    data: Any = None,
    test_data: Any = None,
    start: Network | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Training:
    """Trains what ``config`` describes: a recipe's name (at the size ``profile``), a TOML file, TOML text with a line break,
    or a dictionary of keys. ``settings`` go before it, dots written as two underscores: ``train__epochs=3``.

    ``data`` and ``test_data`` take the place of the configuration's data set: ``(x, y)``, a ``tightrope.data.Dataset`` or a
    ``DataLoader``. ``start`` gives the network and the parameters to begin with. ``out`` is a run folder, written as the
    command writes it; with ``resume`` its run goes on to the same bits. ``progress`` hears of "started", "step",
    "evaluating", "epoch" and "remark".

    Raises ``ConfigError``, ``DataError``, or ``TrainingError`` if the loss diverges.
    """
    text, origin, overrides = _config(config, profile)
    overrides += [f"{key.replace('__', '.')}={_toml(value)}" for key, value in settings.items()]
    arrays = test = None
    if data is not None:
        arrays = _data.given(data, "train")
        # Not the statistics of a data set that happens to have the same shape.
        overrides.append('inputs="arrays"')
    if test_data is not None:
        test = _data.given(test_data, "test")
        if arrays is not None:
            arrays["classes"] = test["classes"] = max(arrays["classes"], test["classes"])
    if start is not None and arrays is not None:
        for part in filter(None, (arrays, test)):
            part["classes"] = start.outputs
    begin = _begin(resume, overwrite, out, "out")
    folder = None if out is None else os.fspath(out)
    places = None if data_dir is None else os.fspath(data_dir)
    handle, metrics, finished, warning = _tightrope.train(
        text, origin, overrides, (arrays, test), None if start is None else start._handle, folder, begin, places,
        _listener(progress),
    )  # fmt: skip
    values = {"metrics": json.loads(metrics), "finished": finished, "warning": warning, "folder": folder}
    return Training(Network(handle), values)


def certify(
    net: Network | str | os.PathLike[str],
    data: Any,
    eps: Any,
    *,
    norm: Any = "inf",
    clip: Any = (0.0, 1.0),
    stages: Sequence[str] | None = None,
    timeout: float | None = 60.0,
    split: str = "test",
    limit: int | None = None,
    steps: int = 40,
    restarts: int = 3,
    seed: int = 0,
    alpha_steps: int = 20,
    alpha_seconds: float | None = None,
    log: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Certification | None:
    """Takes every sample of ``data`` through ``stages`` of rising cost until it is decided or its ``timeout`` (seconds a
    sample) is out: pgd, ibp, crown-ibp, crown, alpha-crown, bab, or any other bounding method.

    ``eps`` is one radius, or for norm "inf" a list of one for each channel (the first axis of a sample). ``log`` is a
    ``certify.jsonl`` as the command writes it, with ``resume`` it goes on. ``progress`` hears of "samples".
    Returns None if the callback ended it.
    """
    network = _network(net)
    begin = _begin(resume, overwrite, log, "log")
    if timeout is not None and not timeout >= 0:
        raise InputError(f"timeout={timeout}: give seconds >= 0 for a sample, or None for no limit")
    if isinstance(stages, str):
        stages = [stage.strip() for stage in stages.split(",")]
    for name, count in (("limit", limit), ("steps", steps), ("restarts", restarts), ("seed", seed)):
        _count(name, count)
    answer = _tightrope.certify(
        network._handle,
        _data.given(data, split, limit, data_dir, network.outputs),
        (radii(eps), norm_name(norm), clip_range(clip)),
        None if stages is None else list(stages),
        timeout,
        (steps, restarts, seed),
        (alpha_steps, alpha_seconds),
        None if log is None else os.fspath(log),
        begin,
        _listener(progress),
    )
    if answer is None:
        return None
    found = json.loads(answer)
    summary = found["summary"]
    shares = {name: summary[name] for name in ("natural", "adversarial", "certified")}
    return Certification(
        {
            "samples": summary["samples"],
            **{name: share["value"] for name, share in shares.items()},
            "intervals": {name: [share["low"], share["high"]] for name, share in shares.items()},
            "unknown": summary["unknown"],
            "stages": summary["stages"],
            "seconds": summary["seconds"],
            "records": found["records"],
        }
    )


def attack(
    net: Network | str | os.PathLike[str],
    data: Any,
    eps: Any,
    *,
    kind: str = "pgd",
    norm: Any = "inf",
    clip: Any = (0.0, 1.0),
    steps: int = 40,
    restarts: int = 3,
    targets: int = 9,
    seed: int = 0,
    split: str = "test",
    limit: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Attack | None:
    """Attacks every sample of ``data`` with ``kind``: pgd, pgd-targeted, apgd-ce, apgd-dlr, apgd-targeted, or all
    of them.

    ``eps`` is one radius, or for norm "inf" a list of one for each channel. What counts as broken was replayed in single and
    in double precision. Returns None if the callback ended it.
    """
    network = _network(net)
    for name, count in (("limit", limit), ("steps", steps), ("restarts", restarts), ("targets", targets), ("seed", seed)):
        _count(name, count)
    samples = _data.given(data, split, limit, data_dir, network.outputs)
    answer = _tightrope.attack(
        network._handle, samples, (radii(eps), norm_name(norm), clip_range(clip)), kind, (steps, restarts, seed), targets,
        _listener(progress),
    )  # fmt: skip
    if answer is None:
        return None
    text, worst, margins, broken = answer
    summary = json.loads(text)
    count = summary["samples"]
    values = {
        "samples": count,
        "natural": summary["correct"] / count,
        "adversarial": summary["robust"] / count,
        "attacks": summary["attacks"],
    }
    result = Attack(values)
    result.x, result.margins, result.broken = worst.reshape(count, *network.input_shape), margins, np.array(broken)
    return result


def verify(
    net: Network | str | os.PathLike[str],
    property: str | os.PathLike[str],
    timeout: float = 300.0,
    *,
    certificate: str | os.PathLike[str] | None = None,
    branching: str = "auto",
    restarts: int = 10,
    seed: int = 0,
) -> Verification:
    """Decides whether the VNN-LIB file ``property`` holds for the network, read as a function of real numbers.

    ``timeout`` (seconds) bounds everything together: reading the property, the search, the certificate and its check. If it
    ends the check, the verdict stands and ``remark`` tells that there is no certificate. With ``certificate`` a proof that
    ``check`` accepts is written to that path if it holds; otherwise what an earlier call left there is removed, since it does
    not belong to this verdict.
    """
    path = None if certificate is None else os.fspath(certificate)
    origin = None if isinstance(net, Network) else os.fspath(net)
    answer = _tightrope.verify(
        _network(net)._handle, os.fspath(property), timeout, branching, restarts, seed, path, origin
    )
    found = Verification(json.loads(answer))
    if path is not None and found.certificate is None and os.path.isfile(path):
        os.remove(path)
    return found


def check(
    certificate: str | os.PathLike[str], net: Network | str | os.PathLike[str], property: str | os.PathLike[str]
) -> Check:
    """Checks a certificate without any engine. Raises ``CertificateError`` if it proves nothing."""
    return Check(json.loads(_tightrope.check(os.fspath(certificate), _network(net)._handle, os.fspath(property))))


def _network(net: Network | str | os.PathLike[str]) -> Network:
    return net if isinstance(net, Network) else Network.from_file(net)


def _listener(progress: Progress | None) -> Callable[[str, str], Any] | None:
    if progress is None:
        return None
    return lambda kind, event: progress(kind, json.loads(event))


def _config(config: str | os.PathLike[str] | dict[str, Any], profile: str) -> tuple[str, str, list[str]]:
    """TOML text, what messages call it, and overrides."""
    if isinstance(config, dict):
        return "", "(dictionary)", [f"{key}={_toml(value)}" for key, value in _flat(config)]
    if isinstance(config, str) and "\n" in config:
        return config, "(text)", []
    path = os.fspath(config)
    if path.endswith(".toml") or os.path.isfile(path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read(), path, []
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); give a recipe's name or a TOML file"
            ) from None
    return recipe(path, profile), f"(recipe {path})", []


def _flat(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The keys of nested tables, with dots."""
    flat = []
    for key, value in config.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat


def _toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, (bool, str)):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return repr(value.item() if hasattr(value, "item") else value)
    raise ConfigError(f"{value!r}: a configuration holds numbers, texts, true or false, and lists of them")
