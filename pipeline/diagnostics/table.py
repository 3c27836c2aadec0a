"""The tables of a diagnosis, and what their columns mean.

In: :class:`pipeline.diagnostics.record.Diagnoses` and its picture. Out: a ``Document``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.diagnostics.record import Diagnoses, Diagnosis
from pipeline.diagnostics.sampled import Sampled
from pipeline.pages.document import Document, Figure, Part, Points, Section, Table
from pipeline.util.drawing import Drawing
from pipeline.util.markdown import listed

NOTHING = "–"
Column = tuple[str, Callable[[Diagnosis], str]]
"""A heading, and the cell of a circuit."""


def document_of(found: Diagnoses, drawing: Drawing) -> Document:
    """The table with its picture, further tables of a single circuit, what is not defined, and what columns mean."""
    config = found.config
    table: list[Part] = [
        Table(_sizes(found), _rows(found, COLUMNS)),
        Table("As functions of inputs and weights", _rows(found, (COLUMNS[0], *FURTHER))),
        f"± is the standard error of the draws: {config.pairs:,} pairs of weights (states, Fourier coefficients), "
        f"{config.samples:,} weights (gradients, effective dimension).",
        Figure("diagnose", drawing, drawing.words),
    ]
    sections = [Section("Over random weights", table)]
    sections += [_of_trained(each) for each in found.circuits if each.trained is not None]
    sections += [_grid(each) for each in found.circuits if len({point.depth for point in each.gradients}) > 1]
    missing = [f"{each.label}, {name}: {reason}." for each in found.circuits for name, reason in each.missing.items()]
    if missing:
        sections.append(Section("Not defined", [Points(missing)]))
    sections.append(Section("What the columns mean", [Points(_meaning(found))]))
    known = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return Document("What circuits can do", _lead(found), sections, made=f"Seed {config.seed}; {known}.")


def _rows(found: Diagnoses, columns: Sequence[Column]) -> list[list[str]]:
    return [[heading for heading, _ in columns], *([cell(each) for _, cell in columns] for each in found.circuits)]


def _sizes(found: Diagnoses) -> str:
    """The sizes of the circuits in words."""
    sizes = {(each.qubits, each.depth) for each in found.circuits}
    if len(sizes) == 1 and len(found.circuits) > 1:
        return "Circuits of {} qubits and depth {}".format(*sizes.pop())
    return "; ".join(f"{each.label}: {_size(each)}" for each in found.circuits)


def _size(each: Diagnosis) -> str:
    """Qubits, and depth where that changes the circuit: one from a file may have weights of one shape only."""
    return f"{each.qubits} qubits" + ("" if _is_of_one_size(each) else f", depth {each.depth}")


def _is_of_one_size(each: Diagnosis) -> bool:
    return ":" in each.label and len({(point.qubits, point.depth) for point in each.gradients}) < 2


def _lead(found: Diagnoses) -> str:
    """The sentence to quote."""
    each = found.circuits[0]
    if len(found.circuits) == 1:
        parts = [f"{each.label} ({_size(each)}) over random weights"]
        if each.entanglement is not None and each.expressibility is not None:
            parts.append(f"entanglement Q {each.entanglement.value:.2f}")
            parts.append(f"divergence from Haar-random states {each.expressibility.divergence.value:.3f}")
        if each.decay is not None:
            parts.append(f"each further qubit multiplies the variance of gradients by {each.decay.factor:.2f}")
        if each.dimension is not None:
            parts.append(f"effective dimension {each.dimension.value:.1f} of {each.dimension.weights} weights")
        return f"{parts[0]}: {', '.join(parts[1:])}."
    parts = []
    known = [(one.label, one.expressibility) for one in found.circuits if one.expressibility is not None]
    like_haar = [name for name, near in known if near.divergence.value - 2 * near.divergence.error <= near.floor]
    if like_haar:
        parts.append(f"{listed(like_haar)} can't be told from Haar-random states")
    elif known:
        name, near = min(known, key=lambda one: one[1].divergence.value)
        parts.append(f"{name} comes closest to Haar-random states (divergence {near.divergence.value:.3f})")
    entangled = sorted((one.entanglement.value, one.label) for one in found.circuits if one.entanglement is not None)
    if entangled:
        (least, least_name), (most, most_name) = entangled[0], entangled[-1]
        parts.append(f"entanglement Q goes from {least:.2f} ({least_name}) to {most:.2f} ({most_name})")
    factors = [(one.label, one.decay.factor) for one in found.circuits if one.decay is not None]
    if factors:
        name, factor = max(factors, key=lambda one: one[1])
        parts.append(f"the gradients of {name} shrink least with further qubits (factor {factor:.2f} each)")
    return f"Of {len(found.circuits)} circuits, over random weights, {'; '.join(parts)}."


def _meaning(found: Diagnoses) -> list[str]:
    floor = next((each.expressibility.floor for each in found.circuits if each.expressibility), None)
    correlated = next((each.fourier.fcc_floor for each in found.circuits if each.fourier), None)
    sizes = sorted({point.qubits for each in found.circuits for point in each.gradients})
    grows = (
        f" Each further qubit, from {sizes[0]} to {sizes[-1]}, multiplies it by the factor" if len(sizes) > 1 else ""
    )
    grows += ": well below 1 is a barren plateau." if grows else ""
    return [
        "weights: trainable angles; of these, without effect: no output depends on them.",
        "entanglement: mean of Meyer and Wallach's Q; 0 for product states, 1 where every wire alone is fully mixed.",
        "expressibility: divergence from Haar-random states, in nats; small is expressive."
        + ("" if floor is None else f" Haar-random states themselves have {floor:.4f} with so many pairs."),
        "gradient variance: of the first output, the mean over weights that it depends on." + grows,
        "frequencies: Fourier coefficients that are not 0, of those that the inputs allow."
        + ("" if correlated is None else f" FCC: their mean correlation; {correlated:.3f} is none at all."),
        "effective dimension: of the weights, and as a share of them.",
    ]


def _grid(each: Diagnosis) -> Section:
    """Variance of gradients over qubits and depth."""
    qubits = sorted({point.qubits for point in each.gradients})
    at = {(point.qubits, point.depth): point.variance for point in each.gradients}
    factors = {decay.depth: f"{decay.factor:.2f}" for decay in each.decays}
    rows = [["depth", *(f"{n} qubits" for n in qubits), "factor a qubit"]]
    rows += [
        [str(d), *(_sampled(at.get((n, d)), 4) for n in qubits), factors.get(d, NOTHING)]
        for d in sorted({point.depth for point in each.gradients})
    ]
    return Section(f"Variance of gradients of {each.label}", [Table("Over qubits and depth", rows)])


def _of_trained(each: Diagnosis) -> Section:
    trained = each.trained
    assert trained is not None
    rows = [["quantity", "trained", "random"]]
    rows.append(["entanglement", _sampled(trained.entanglement, 3), _sampled(each.entanglement, 3)])
    for name, local, overall in (
        ("effective dimension, circuit", trained.circuit, each.dimension),
        ("effective dimension, whole head", trained.head, None),
    ):
        cells = [
            NOTHING if one is None else f"{one.value:.1f} of {one.weights:,} ({one.normalised:.0%})"
            for one in (local, overall)
        ]
        rows.append([name, *cells])
    return Section("At the trained weights", [Table("On the training rows", rows)])


def _sampled(found: Sampled | None, digits: int) -> str:
    return NOTHING if found is None else f"{found.value:.{digits}f} ± {found.error:.{digits}f}"


def _factor(each: Diagnosis) -> str:
    return NOTHING if each.decay is None else f"{each.decay.factor:.2f}"


def _frequencies(each: Diagnosis) -> str:
    if each.fourier is None:
        return NOTHING
    return f"{each.fourier.n_reached} of {len(each.fourier.reached)}" + (
        "" if each.fourier.resolved else " (equal inputs)"
    )


def _fcc(each: Diagnosis) -> str:
    return NOTHING if each.fourier is None or each.fourier.fcc is None else f"{each.fourier.fcc:.3f}"


def _dimension(each: Diagnosis) -> str:
    found = each.dimension
    return NOTHING if found is None else f"{found.value:.1f} ({found.normalised:.0%})"


COLUMNS: tuple[Column, ...] = (
    ("circuit", lambda each: each.label),
    ("weights", lambda each: str(each.weights)),
    ("without effect", lambda each: NOTHING if each.without_effect is None else str(each.without_effect)),
    ("entanglement", lambda each: _sampled(each.entanglement, 3)),
    (
        "expressibility",
        lambda each: _sampled(each.expressibility.divergence if each.expressibility else None, 4),
    ),
    ("gradient variance", lambda each: _sampled(each.variance, 4)),
    ("factor a qubit", _factor),
)
FURTHER: tuple[Column, ...] = (
    ("frequencies", _frequencies),
    ("FCC", _fcc),
    ("effective dimension", _dimension),
)
