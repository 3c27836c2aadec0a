"""``python -m pipeline diagnose``: what circuits, or a trained head, can do.

In: a ``DiagnoseConfig``. Out: in ``config.out``, ``diagnose`` as ``.html``, ``.md``, ``.json`` and ``.png``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from features.cache.store import read_features
from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import tensors_sha256, versions
from pipeline.diagnostics import dimension
from pipeline.diagnostics.config import LEAST_DATA, DiagnoseConfig
from pipeline.diagnostics.entanglement import meyer_wallach
from pipeline.diagnostics.expressibility import Expressibility, expressibility
from pipeline.diagnostics.figure import draw
from pipeline.diagnostics.fourier import fourier
from pipeline.diagnostics.gradients import GradientVariance, decays, gradient_variance
from pipeline.diagnostics.record import Diagnoses, Diagnosis, Trained
from pipeline.diagnostics.sampled import Sampled, generator
from pipeline.diagnostics.subject import NotDefinedError, Subject, scales, subject_named, subject_of_head
from pipeline.diagnostics.table import document_of
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.idle import idle_weights
from pipeline.pages.document import as_markdown, write_document
from pipeline.quantum.circuits import CIRCUITS
from pipeline.training.folder import make_folder
from pipeline.training.run import load_run
from pipeline.util.drawing import style
from pipeline.util.records import to_record

Found = TypeVar("Found")
DIGITS = 6
"""Digits of the numbers in diagnose.json: further ones may differ between processors."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A circuit with all that its diagnosis needs.

    Attributes:
        subject: The circuit at its own size.
        depth: Its layers.
        at: The same circuit of another number of qubits and depth, with random inputs.
        sizes: The sizes of ``at`` to measure gradients at.
        data: Samples that the effective dimension is for.
        head: The trained head and its rows.
    """

    subject: Subject
    depth: int
    at: Callable[[int, int], Subject]
    sizes: list[tuple[int, int]]
    data: int
    head: tuple[DressedQuantumNet, torch.Tensor] | None = None

    @property
    def steps(self) -> int:
        """Pieces of work, for the progress bar."""
        return len(self.sizes) + 3 + 2 * (self.head is not None)


def diagnose(config: DiagnoseConfig) -> Diagnoses:
    """Measure, then write page, picture and numbers.

    Raises:
        InputError: for a circuit, run, features or folder that can't be used.
        KeyboardInterrupt: at Ctrl-C; files of an earlier diagnosis stay as they were.
    """
    try:
        found = measure(config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; nothing in {config.out} was changed") from None
    make_folder(config.out)
    write_text(
        config.out / "diagnose.json", json.dumps(_rounded(to_record(found)), indent=1, ensure_ascii=False) + "\n"
    )
    with style():
        document = document_of(found, draw(found))
        page = write_document(document, config.out, "diagnose")
    print(as_markdown(document, with_figures=False))
    print(f"\n{page}: this with its picture, which is also diagnose.png; text in .md, all numbers in .json")
    return found


def measure(config: DiagnoseConfig) -> Diagnoses:
    """All circuits, or the trained head.

    Raises:
        InputError: for a circuit, run or features that can't be used.
    """
    from tqdm import tqdm

    cases = [_of_run(config)] if config.run is not None else _of_circuits(config)
    with tqdm(total=sum(case.steps for case in cases), unit="step", desc="diagnose", disable=None) as bar:
        circuits = [_diagnosis(case, config, bar) for case in cases]
    head = cases[0].head
    run = None if head is None else tensors_sha256(head[0].state_dict())
    return Diagnoses(config=config, circuits=circuits, run=run, versions=versions())


def _of_circuits(config: DiagnoseConfig) -> list[Case]:
    """Every circuit at the sizes of the flags."""
    names = config.circuits or tuple(CIRCUITS)
    depths = config.grid_depths if len(names) == 1 else ()
    cases = []
    for name in names:
        subject = subject_named(name, config.qubits, config.depth, config.entangler)

        def at(qubits: int, depth: int, name: str = name) -> Subject:
            return subject_named(name, qubits, depth, config.entangler)

        wider, deeper = scales(name, config.qubits, config.depth)
        sizes = _sizes((config.qubits, config.grid_qubits, wider), (config.depth, depths, deeper))
        cases.append(Case(subject=subject, depth=config.depth, at=at, sizes=sizes, data=config.data))
    return cases


def _of_run(config: DiagnoseConfig) -> Case:
    """The head of a run, with its training rows."""
    assert config.run is not None
    run = load_run(config.run)
    head = run.head(config.epoch)
    if not isinstance(head, DressedQuantumNet):
        raise InputError(
            f"the head in {config.run} is {run.config.head!r}, which has no circuit to diagnose; name a run of a "
            "quantum head, or leave --run out"
        )
    features = read_features(config.features or Path(run.features.path))
    if not features.matches(run.features.content_sha256):
        raise InputError(
            f"{features.path} holds other features than those the head in {run.path} was trained on; name the right "
            "file with --features"
        )
    rows, source = features.train.features, None if run.circuit is None else run.circuit.source
    if len(rows) < LEAST_DATA:
        raise InputError(
            f"{features.path} has {len(rows)} training rows; the effective dimension needs {LEAST_DATA} or more"
        )
    chosen = np.sort(generator(config.seed, "rows").permutation(len(rows))[: config.rows])
    own = torch.as_tensor(rows[chosen], dtype=head.q_params.dtype)
    settings = run.config

    def at(qubits: int, depth: int) -> Subject:
        return subject_named(settings.circuit, qubits, depth, settings.entangler, source)

    wider, deeper = scales(settings.circuit, settings.qubits, settings.depth, source)
    return Case(
        subject=subject_of_head(settings.circuit, head, own),
        depth=settings.depth,
        at=at,
        sizes=_sizes((head.n_wires, config.grid_qubits, wider), (settings.depth, config.grid_depths, deeper)),
        data=len(rows),
        head=(head, own),
    )


def _sizes(qubits: tuple[int, Sequence[int], bool], depths: tuple[int, Sequence[int], bool]) -> list[tuple[int, int]]:
    """All sizes, from its own number of qubits or layers, further ones, and whether the circuit has these."""
    of_each = [sorted({own, *further}) if has else [own] for own, further, has in (qubits, depths)]
    return [(n, d) for d in of_each[1] for n in of_each[0]]


def _diagnosis(case: Case, config: DiagnoseConfig, bar: Any) -> Diagnosis:
    subject, missing = case.subject, {}

    def unless(name: str, measure: Callable[[], Found]) -> Found | None:
        bar.set_postfix_str(f"{subject.name}: {name}")
        try:
            return measure()
        except NotDefinedError as error:
            missing[name] = str(error)
            return None
        finally:
            bar.update()

    def at(qubits: int, depth: int) -> GradientVariance:
        return gradient_variance(case.at(qubits, depth), depth, config.samples, config.seed)

    gradients = [unless("gradients", lambda n=n, d=d: at(n, d)) for n, d in case.sizes]  # type: ignore[misc]
    found = [each for each in gradients if each is not None]
    states = unless("states", lambda: _of_states(subject, config))
    series = unless("Fourier coefficients", lambda: fourier(subject, config.pairs, config.seed))
    idle = idle_weights(subject.compiled)
    over_weights = unless(
        "effective dimension",
        lambda: dimension.of_circuit(subject, config.samples, config.rows, case.data, config.seed),
    )
    trained = None
    if case.head is not None:
        head, rows = case.head
        trained = unless("trained weights", lambda: _at_trained_weights(subject, config.rows, case.data, config.seed))
        whole = unless("the head's effective dimension", lambda: dimension.of_head(head, rows, case.data))
        trained = None if trained is None else replace(trained, head=whole)
    return Diagnosis(
        name=subject.name,
        qubits=subject.n_wires,
        depth=case.depth,
        inputs=subject.compiled.n_inputs,
        weights=subject.n_weights,
        without_effect=None if idle is None else len(idle),
        simulator=subject.compiled.simulator,
        entanglement=None if states is None else states[0],
        expressibility=None if states is None else states[1],
        gradients=found,
        decays=decays(found),
        fourier=series,
        dimension=over_weights,
        trained=trained,
        missing=missing,
    )


def _of_states(subject: Subject, config: DiagnoseConfig) -> tuple[Sampled, Expressibility]:
    """Entanglement and expressibility, from pairs of random weights with one input."""
    random = generator(config.seed, "states", subject.name)
    inputs = subject.draw_inputs(random, config.pairs)
    first, second = (subject.states(inputs, subject.draw_weights(random, config.pairs)) for _ in range(2))
    fidelities = np.abs((first.conj() * second).sum(axis=1)) ** 2
    entangled = (meyer_wallach(first) + meyer_wallach(second)) / 2
    return Sampled.mean(entangled), expressibility(fidelities, first.shape[1].bit_length() - 1)


def _at_trained_weights(subject: Subject, rows: int, data: int, seed: int) -> Trained:
    assert subject.trained is not None
    assert subject.known_inputs is not None
    weights = np.repeat(subject.trained[None], len(subject.known_inputs), axis=0)
    return Trained(
        entanglement=Sampled.mean(meyer_wallach(subject.states(subject.known_inputs, weights))),
        circuit=dimension.at_trained_weights(subject, rows, data, seed),
        head=None,
    )


def _rounded(value: Any) -> Any:
    """The record with the numbers that were computed rounded."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
