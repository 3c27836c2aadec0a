"""A trained head at several levels of noise and shots: how accurate it stays, and how far it moves.

In: a head, a device, features and labels. Out: :class:`pipeline.devices.results.DeviceResults`.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from features.util.errors import InputError
from pipeline.devices.config import DeviceConfig
from pipeline.devices.device import DeviceCircuit, open_device
from pipeline.devices.noise import Noise
from pipeline.devices.results import Agreement, DeviceResults, Level
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.training.run import Run
from pipeline.util.metrics import accuracy, metrics


class DeviceEvaluation:
    """A head on a device at every pair of a noise and a number of shots, each tried on one sample when this is made.

    Args:
        head: The trained head.
        device: The name of a PennyLane device, or a device.
        options: Further arguments of a device given by name.
        noise: Levels of noise.
        shots: Numbers of measurements of each sample; None among them for exact expectation values.
        seed: Of the random draws, for a device given by name that takes one. The draws of one level follow those of
            the one before.

    Raises:
        InputError: if there is no such device, or it can't do what is asked for.
    """

    def __init__(
        self,
        head: DressedQuantumNet,
        device: Any,
        *,
        options: Mapping[str, Any] | None = None,
        noise: Sequence[Noise] = (Noise(),),
        shots: Sequence[int | None] = (None,),
        seed: int = 0,
    ) -> None:
        from tqdm import tqdm

        self.head, self.options, self.seed = head, dict(options or {}), None
        self.name = device if isinstance(device, str) else device.name
        if isinstance(device, str):
            device, self.seed = open_device(device, head.n_wires, self.options, seed)
        self.levels = [DeviceCircuit(head, device, *level) for level in product(noise, shots)]
        for level in tqdm(self.levels, unit="level", desc=f"trying {self.name}", leave=False, disable=None):
            level.try_it()

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> DeviceResults:
        """The head at every level.

        Args:
            features: Shape (N, n_features), in the head's dtype.
            labels: Shape (N,), int64.

        Raises:
            InputError: if the device fails half-way.
        """
        from tqdm import tqdm

        with torch.inference_mode():
            angles = self.head.angles(features)
            exact, logits = self.head.expectation_values(angles).numpy(), self.head(features)
        found = []
        total = len(self.levels) * len(features)
        with tqdm(total=total, unit="image", desc=self.name, disable=None) as bar:
            for level in self.levels:
                started = time.perf_counter()
                values = self._measured(level, angles.double().numpy(), bar)
                seconds = round(time.perf_counter() - started, 3)
                found.append(self._level(level, values, exact, logits, labels, seconds))
        right = metrics(logits, labels)
        return DeviceResults(
            device=self.name,
            options={name: str(value) for name, value in self.options.items()},
            noise_model=_noise_model([level.noise for level in self.levels]),
            exact=accuracy(right.correct, right.total),
            levels=found,
            seed=self.seed,
        )

    def _measured(self, level: DeviceCircuit, angles: np.ndarray, bar: Any) -> np.ndarray:
        parts = []
        for start in range(0, len(angles), level.batch):
            parts.append(level(angles[start : start + level.batch]))
            bar.update(len(parts[-1]))
        return np.concatenate(parts)

    def _level(
        self,
        level: DeviceCircuit,
        values: np.ndarray,
        exact: np.ndarray,
        logits: torch.Tensor,
        labels: torch.Tensor,
        seconds: float,
    ) -> Level:
        with torch.inference_mode():
            measured = self.head.post_net(torch.from_numpy(values).to(logits.dtype))
        right, same = metrics(measured, labels), metrics(measured, logits.argmax(dim=1))
        return Level(
            **vars(accuracy(right.correct, right.total)),
            noise=dict(level.noise.strengths),
            shots=level.shots,
            loss=right.loss,
            agreement=Agreement(same=same.correct, total=same.total, wilson95=same.wilson95),
            mean_shift=float(np.abs(values - exact).mean()),
            seconds=seconds,
        )


def device_evaluation(config: DeviceConfig, run: Run) -> DeviceEvaluation | None:
    """What the flags ask for, tried out; None if they ask for no device.

    Raises:
        InputError: if the head has no circuit, or the device can't do it.
    """
    if not config.on_device:
        return None
    head = run.head("last")
    if not isinstance(head, DressedQuantumNet):
        raise InputError(
            f"the head in {run.path} is {run.config.head!r}, which has no circuit to run on a device; leave out "
            "--q-device, --shots and --noise, or train a quantum head"
        )
    noise = [Noise.parse(text) for text in config.noise] or [Noise()]
    return DeviceEvaluation(
        head,
        config.q_device or ("default.mixed" if config.noise else "default.qubit"),
        options=dict(map(_option, config.q_device_options)),
        noise=noise,
        shots=[number or None for number in config.shots] or [None],
        seed=run.config.seed,
    )


def evaluate_on(
    head: DressedQuantumNet,
    features: Any,
    labels: Any,
    *,
    device: Any,
    shots: int | None = None,
    noise: str = "none",
    seed: int = 0,
) -> DeviceResults:
    """A head on a device, at one level: for devices that no flag can describe.

    Args:
        head: The trained head.
        features: Shape (N, n_features).
        labels: Class indices, shape (N,).
        device: A PennyLane device, or the name of one.
        shots: Measurements of each sample; None for exact expectation values.
        noise: As ``--noise`` takes it.
        seed: Of the random draws, for a device given by name that takes one.

    Raises:
        InputError: if the device can't do it.
        ValueError: if the noise is not understood, or the features are not such as the head takes.
    """
    evaluation = DeviceEvaluation(head, device, noise=[Noise.parse(noise)], shots=[shots], seed=seed)
    return evaluation(torch.as_tensor(features, dtype=head.q_params.dtype), torch.as_tensor(labels))


def _option(text: str) -> tuple[str, Any]:
    """A device's option from ``KEY=VALUE``: a value of Python where it reads as one, else the text."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _noise_model(noises: Sequence[Noise]) -> str:
    if all(noise.quiet for noise in noises):
        return "no channels in the circuit"
    return (
        "after every gate, those of the embedding included, each channel on each wire that the gate touches; readout: "
        "a bit flip on every wire before its measurement"
    )
