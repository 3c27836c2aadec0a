"""The picture of a diagnosis: several circuits side by side, or one in detail.

In: :class:`pipeline.diagnostics.record.Diagnoses`. Out: a drawing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from pipeline.diagnostics.record import Diagnoses, Diagnosis
from pipeline.util.drawing import BLUE, FAINT, MUTED, ORANGE, PAPER, SERIES, Drawing

# Eigenvalues below this share of their mean are no direction.
SMALLEST = 1e-6
# Letters of a name.
LONGEST = 32


def draw(found: Diagnoses) -> Drawing:
    """The picture, and in words what it shows; to be used inside :func:`pipeline.util.drawing.style`."""
    return _one(found.circuits[0]) if len(found.circuits) == 1 else _several(found.circuits)


def _several(circuits: Sequence[Diagnosis]) -> Drawing:
    figure, axes = plt.subplots(2, 2, figsize=(10.5, 8.6), layout="constrained")
    (states, gradients), (series, spectra) = axes
    for place, each in enumerate(circuits):
        look = _look(place)
        if each.expressibility is not None and each.entanglement is not None:
            divergence = each.expressibility.divergence
            states.errorbar(
                max(divergence.value, 1e-5),
                each.entanglement.value,
                xerr=[[min(divergence.error, 0.9 * divergence.value)], [divergence.error]],
                yerr=each.entanglement.error,
                label=_name(each),
                **look | {"linestyle": "none"},
            )
        points = [p for p in each.gradients if p.depth == each.depth and p.variance is not None]
        _variances(gradients, points, _name(each), look)
        if each.fourier is not None:
            degrees, sizes = _by_degree(each)
            series.plot(degrees, sizes, **look)
        if each.dimension is not None:
            _spectrum(spectra, each.dimension.spectrum, look)
    floors = [each.expressibility.floor for each in circuits if each.expressibility]
    if floors:
        states.axvline(floors[0], color=MUTED, linestyle=":", label="Haar-random states")
    states.set(xscale="log", xlabel="expressibility: divergence from Haar-random states", ylabel="entanglement, Q")
    _plain(states.xaxis)
    states.set_ylim(-0.05, 1.05)
    states.set_title("States")
    _finish_gradients(gradients)
    _finish_series(series)
    _finish_spectra(spectra)
    handles, labels = states.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    return Drawing(
        figure,
        f"Entanglement, expressibility, gradients, Fourier coefficients and Fisher spectra of "
        f"{', '.join(each.label for each in circuits)}.",
    )


def _one(each: Diagnosis) -> Drawing:
    figure = plt.figure(figsize=(11.5, 7.6), layout="constrained")
    places = figure.subplot_mosaic("AABBCC;DDDEEE")
    gradients, fidelities, series, spectra, fingerprint = (places[name] for name in "ABCDE")
    depths = sorted({point.depth for point in each.gradients})
    for place, depth in enumerate(depths):
        points = [p for p in each.gradients if p.depth == depth and p.variance is not None]
        _variances(gradients, points, f"depth {depth}", _look(place))
    _finish_gradients(gradients)
    if len({point.qubits for point in each.gradients}) == 1:
        gradients.set_xticks([each.gradients[0].qubits])  # as there is nothing between
    if depths:
        gradients.legend()
    if each.expressibility is not None:
        edges = np.linspace(0, 1, len(each.expressibility.histogram) + 1)
        fidelities.stairs(each.expressibility.histogram, edges, fill=True, color=BLUE, alpha=0.6, label=_name(each))
        fidelities.stairs(each.expressibility.haar, edges, color=ORANGE, linewidth=1.5, label="Haar-random")
        fidelities.legend()
    fidelities.set(xlabel="fidelity of two random states", ylabel="share of pairs")
    fidelities.set_title("Expressibility")
    if each.fourier is not None:
        kept = np.flatnonzero(each.fourier.reached)
        degrees = np.abs(np.array(each.fourier.frequencies)).sum(axis=1)[kept]
        mean, spread = np.array(each.fourier.mean)[kept], np.array(each.fourier.spread)[kept]
        shifts = np.random.default_rng(0).uniform(-0.18, 0.18, len(kept))
        series.errorbar(
            degrees + shifts, mean, yerr=[np.minimum(spread, mean), spread], fmt="o", color=BLUE, alpha=0.45,
            markersize=4, label="random weights, deviation",
        )  # fmt: skip
        if each.fourier.trained is not None:
            trained = np.array(each.fourier.trained)[kept]
            series.plot(degrees + shifts, trained, "s", color=ORANGE, markersize=4, label="trained weights")
        series.legend()
        _heat(fingerprint, each)
    _finish_series(series)
    if each.dimension is not None:
        _spectrum(spectra, each.dimension.spectrum, _look(0) | {"label": "random weights"})
    if each.trained is not None:
        _spectrum(spectra, each.trained.circuit.spectrum, _look(1) | {"label": "trained weights"})
        spectra.legend()
    _finish_spectra(spectra)
    for axis, name in ((fidelities, "states"), (series, "Fourier coefficients"), (fingerprint, "Fourier coefficients")):
        if name in each.missing:
            axis.text(0.5, 0.5, "not defined", transform=axis.transAxes, ha="center", color=MUTED)
    fingerprint.set_title("Fourier fingerprint: full colour is 1")
    return Drawing(figure, f"Gradients, fidelities, Fourier coefficients and Fisher spectrum of {each.label}.")


def _variances(axis: Axes, points: Sequence, name: str, look: dict) -> None:
    if points:
        values = [p.variance.value for p in points]
        errors = [p.variance.error for p in points]
        axis.errorbar([p.qubits for p in points], values, yerr=errors, label=name, capsize=2, **look)


def _by_degree(each: Diagnosis) -> tuple[list[int], list[float]]:
    """For each sum of frequencies the root of the mean square of the mean sizes."""
    assert each.fourier is not None
    squares = defaultdict(list)
    for frequency, mean, spread, reached in zip(
        each.fourier.frequencies, each.fourier.mean, each.fourier.spread, each.fourier.reached, strict=True
    ):
        if reached:
            squares[sum(map(abs, frequency))].append(mean**2 + spread**2)
    degrees = sorted(squares)
    return degrees, [float(np.sqrt(np.mean(squares[degree]))) for degree in degrees]


def _spectrum(axis: Axes, spectrum: Sequence[float], look: dict) -> None:
    values = np.array(spectrum)
    shown = values[values > SMALLEST]
    axis.plot((np.arange(len(shown)) + 1) / len(values), shown, **look | {"markersize": 3})


def _heat(axis: Axes, each: Diagnosis) -> None:
    assert each.fourier is not None
    kept = np.flatnonzero(each.fourier.reached)
    sizes = np.abs(np.array(each.fourier.correlation))[np.ix_(kept, kept)]
    # The page shows through where there is no correlation, light or dark.
    colours = np.empty((*sizes.shape, 4))
    colours[:] = to_rgba(BLUE)
    colours[..., 3] = sizes.clip(0, 1)
    axis.imshow(colours, interpolation="nearest")
    axis.grid(visible=False)
    axis.set_anchor("W")
    axis.set(xlabel="coefficients, by rising frequency", ylabel="coefficients")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))


def _finish_gradients(axis: Axes) -> None:
    axis.set(yscale="log", xlabel="qubits", ylabel="variance of ∂f/∂θ")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axis.yaxis)
    axis.set_title("Gradients")


def _finish_series(axis: Axes) -> None:
    axis.set(xlabel="frequency, sum over inputs", ylabel="size of a coefficient, |c|")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title("Fourier coefficients")


def _finish_spectra(axis: Axes) -> None:
    axis.axhline(1, color=FAINT, linewidth=1)
    axis.set(yscale="log", xlabel="share of the weights", ylabel="eigenvalue of the Fisher information")
    _plain(axis.yaxis)
    axis.set_title("Directions: all at 1 if all weights count alike")


def _plain(axis: Axis) -> None:
    """Numbers as they are on a logarithmic axis: powers are mathematics, which these figures don't read."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _name(each: Diagnosis) -> str:
    """Its name in a legend, which would leave out one that starts with an underscore: this one never does."""
    return f"\u200b{each.label[:LONGEST]}"


def _look(place: int) -> dict:
    """Colour, marker and line of the n-th of several."""
    colour, marker = SERIES[place % len(SERIES)]
    again = place >= len(SERIES)
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "--" if again else "-",
        "markerfacecolor": PAPER if again else colour,
        "markersize": 5,
    }
