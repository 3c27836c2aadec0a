"""Changes to an open cache, made with HDF5 itself."""

from __future__ import annotations

import h5py
import numpy as np


def swap_two_rows(file: h5py.File) -> None:
    rows = file["train/features"][:2]
    file["train/features"][:2] = rows[::-1]


def change_a_label(file: h5py.File) -> None:
    file["val/labels"][1] = 1 - file["val/labels"][1]


def change_a_path(file: h5py.File) -> None:
    file["val/paths"][0] = "val/red/99.png"


def change_the_classes(file: h5py.File) -> None:
    file.attrs["classes"] = ["red", "blue"]


def change_the_weights(file: h5py.File) -> None:
    file.attrs["weights_sha256"] = "0" * 64


def drop_a_row(file: h5py.File) -> None:
    for name in ("features", "labels", "paths"):
        rows = file["val"][name][:-1]
        del file["val"][name]
        file["val"][name] = rows


def change_the_type(file: h5py.File) -> None:
    rows = file["val/features"][()]
    del file["val/features"]
    file["val/features"] = rows.astype(np.float64)
