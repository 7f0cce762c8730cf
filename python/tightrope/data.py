"""Labelled samples: data sets by name, arrays, and torch data loaders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightrope import _tightrope
from tightrope.errors import DataError
from tightrope.network import as_array, is_tensor


@dataclass(frozen=True)
class Dataset:
    """Images ``x`` ``[N, C, H, W]`` (float32) with labels ``y`` ``[N]`` (int64) below ``classes``."""

    x: np.ndarray
    y: np.ndarray
    classes: int
    name: str = "arrays"
    split: str = "test"
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Dataset({self.name} {self.split}, {len(self)} x {list(self.x.shape[1:])}, {self.classes} classes)"


def names() -> dict[str, str]:
    """The known data sets: name and title."""
    return dict(_tightrope.dataset_names())


def load(
    name: str, split: str = "test", limit: int | None = None, data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """A split (train, test or validation) of a known data set; ``digits`` is embedded.

    It is looked for in ``data_dir``, else in $TIGHTROPE_DATA, else in the user's cache. Raises ``DataError`` if it is not
    there; the message says how to get it.
    """
    folder = None if data_dir is None else os.fspath(data_dir)
    pixels, labels, shape, classes, class_names = _tightrope.dataset(name, split, folder, limit)
    named = None if class_names is None else tuple(class_names)
    return Dataset(pixels.reshape(-1, *shape), labels, classes, name, split, named)


def collect(batches: Iterable[Any], limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a loader of ``(x, y)`` batches, such as a torch ``DataLoader``, in its order."""
    xs, ys, count = [], [], 0
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise DataError(f"data: a batch is a {type(batch).__name__}, not (x, y); give (x, y) or a loader of such pairs")
        x, y = batch
        xs.append(as_array(x).astype(np.float32, copy=False))
        ys.append(np.asarray(y.detach().cpu().numpy() if is_tensor(y) else y))
        count += len(ys[-1])
        if limit is not None and count >= limit:
            break
    if not xs:
        raise DataError("the loader gave no batch; give one that yields (x, y)")
    return np.concatenate(xs)[:limit], np.concatenate(ys)[:limit]


def given(
    data: Any,
    split: str,
    limit: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    classes: int | None = None,
) -> dict[str, Any]:
    """``data`` (a name, a ``Dataset``, ``(x, y)`` or a loader) as the engine reads it."""
    if isinstance(data, str):
        folder = None if data_dir is None else os.fspath(data_dir)
        return {
            "name": data, "split": split, "limit": limit, "data_dir": folder,
            "x": None, "y": [], "shape": [0, 0, 0], "classes": 0,
        }  # fmt: skip
    name = "arrays"
    if isinstance(data, Dataset):
        x, y, name, classes = data.x, data.y, data.name, data.classes
    elif isinstance(data, tuple) and len(data) == 2 or isinstance(data, list) and len(data) == 2 and hasattr(data[0], "shape"):
        x, y = data
    elif hasattr(data, "__iter__"):
        x, y = collect(data, limit)
    else:
        raise DataError(f"data: {type(data).__name__} is no data set; give a name, (x, y), a Dataset or a DataLoader")
    x = as_array(x).astype(np.float32, copy=False)
    y = np.asarray(y.detach().cpu().numpy() if is_tensor(y) else y)
    if y.dtype.kind not in "iub" or y.ndim != 1 or len(x) != len(y):
        raise DataError(f"y: {y.dtype} {list(y.shape)}, but {len(x)} samples need whole numbers [{len(x)}]")
    if len(y) and y.min() < 0:
        raise DataError(f"y: sample {int(y.argmin())} has a label below 0; number the classes from 0")
    sides = x.shape[1:]
    # Channels, height, width; a flat vector is a row.
    shape = list(sides) if len(sides) == 3 else [1, *sides] if len(sides) == 2 else [1, 1, int(np.prod(sides))]
    if classes is None:
        classes = int(y.max()) + 1 if len(y) else 0
    return {
        "name": name, "split": split, "limit": limit, "data_dir": None,
        "x": np.ascontiguousarray(x), "y": y.tolist(), "shape": shape, "classes": classes,
    }  # fmt: skip
