"""The table of a diagnosis in Markdown, and what its columns mean.

In: :class:`pipeline.diagnostics.record.Diagnoses`. Out: text.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.diagnostics.record import Diagnoses, Diagnosis
from pipeline.diagnostics.sampled import Sampled
from pipeline.util.markdown import markdown

NOTHING = "–"


def render(found: Diagnoses) -> str:
    """A row for each circuit, notes on what is not defined, and the meaning of each column."""
    config = found.config
    rows = [[heading for heading, _ in COLUMNS]]
    rows += [[cell(each) for _, cell in COLUMNS] for each in found.circuits]
    parts = [markdown(rows)]
    for each in found.circuits:
        if len(each.gradients) > 1 and len({point.depth for point in each.gradients}) > 1:
            parts.append(_grid(each))
        if each.trained is not None:
            parts.append(_of_trained(each))
    notes = [f"- {each.label}, {name}: {reason}." for each in found.circuits for name, reason in each.missing.items()]
    if notes:
        parts.append("\n".join(["Not defined:", "", *notes]))
    floor = next((each.expressibility.floor for each in found.circuits if each.expressibility), None)
    parts.append("\n".join(_meaning(config.pairs, config.samples, floor, found)))
    return "\n\n".join(parts)


def _meaning(pairs: int, samples: int, floor: float | None, found: Diagnoses) -> list[str]:
    correlated = next((each.fourier.fcc_floor for each in found.circuits if each.fourier), None)
    sizes = sorted({point.qubits for each in found.circuits for point in each.gradients})
    return [
        f"± is the standard error of the draws: {pairs:,} pairs of weights (states, Fourier coefficients), {samples:,} "
        "weights (gradients, effective dimension).",
        "",
        "- weights: trainable angles; of these, without effect: no output depends on them.",
        "- entanglement: mean of Meyer and Wallach's Q; 0 for product states, 1 where every wire alone is fully mixed.",
        "- expressibility: divergence from Haar-random states, in nats; small is expressive."
        + ("" if floor is None else f" Haar-random states themselves have {floor:.4f} with so many pairs."),
        "- gradient variance: of the first output, the mean over weights that it depends on. Each further qubit, from "
        f"{sizes[0]} to {sizes[-1]}, multiplies it by the factor: well below 1 is a barren plateau.",
        "- frequencies: Fourier coefficients that are not 0, of those that the inputs allow."
        + ("" if correlated is None else f" FCC: their mean correlation; {correlated:.3f} is none at all."),
        "- effective dimension: of the weights, and as a share of them.",
    ]


def _grid(each: Diagnosis) -> str:
    """Variance of gradients over qubits and depth."""
    qubits = sorted({point.qubits for point in each.gradients})
    at = {(point.qubits, point.depth): point.variance for point in each.gradients}
    factors = {decay.depth: f"{decay.factor:.2f}" for decay in each.decays}
    rows = [["depth", *(f"{n} qubits" for n in qubits), "factor a qubit"]]
    rows += [
        [str(d), *(_sampled(at.get((n, d)), 4) for n in qubits), factors.get(d, NOTHING)]
        for d in sorted({point.depth for point in each.gradients})
    ]
    return f"Variance of gradients of {each.label}:\n\n{markdown(rows)}"


def _of_trained(each: Diagnosis) -> str:
    trained = each.trained
    assert trained is not None
    rows = [["at the trained weights", "", "at random weights"]]
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
    return markdown(rows)


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


COLUMNS: tuple[tuple[str, Callable[[Diagnosis], str]], ...] = (
    ("circuit", lambda each: each.label),
    ("qubits, depth", lambda each: f"{each.qubits}, {each.depth}"),
    ("weights", lambda each: str(each.weights)),
    ("without effect", lambda each: NOTHING if each.without_effect is None else str(each.without_effect)),
    ("entanglement", lambda each: _sampled(each.entanglement, 3)),
    (
        "expressibility",
        lambda each: _sampled(each.expressibility.divergence if each.expressibility else None, 4),
    ),
    ("gradient variance", lambda each: _sampled(each.variance, 4)),
    ("factor a qubit", _factor),
    ("frequencies", _frequencies),
    ("FCC", _fcc),
    ("effective dimension", _dimension),
)
