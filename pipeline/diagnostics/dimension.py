"""Effective dimension: along how many directions of its weights a model really moves.

In: a circuit, or a trained head, whose outputs are logits of class probabilities p(y|x, θ). Out: the spectrum of its
Fisher information F(θ) = mean over x of Σ_y p(y|x) ∇log p(y|x) ∇log p(y|x)ᵀ, and the effective dimension

    d(θ-space) = 2 log( mean over θ of √det(1 + κ F̂(θ)) ) / log κ,   κ = n / (2π log n),

F̂ being F scaled so that the mean of its trace is the number d of weights. The normalised one is divided by d: about 1
where all weights count alike, 0 where none does. Inputs x are the rows of the data, or random; labels y are not drawn,
their expectation is exact. Where a circuit has no layer behind it, its outputs are the logits, and a single output has
the logits (f, 0). At trained weights the mean over θ is left out: the local effective dimension.

Sources: A. Abbas et al., "The power of quantum neural networks", Nature Computational Science 1, 403 (2021),
arXiv:2011.00027, equations 1 to 3, with γ = 1; A. Abbas et al., "Effective dimension of machine learning models",
arXiv:2112.04807, for the local one, here in the limit of a small ball.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.diagnostics.sampled import Sampled, generator
from pipeline.diagnostics.subject import NotDefinedError, Subject

NONE = 1e-12
"""A derivative below this is rounding."""
SMALL = 1e-10
"""Share of the largest eigenvalue below which another is rounding."""
LARGEST = 1 << 28
"""Numbers that all derivatives of a head may be."""


@dataclass(frozen=True, kw_only=True)
class EffectiveDimension:
    """The Fisher information of a model and its effective dimension.

    Attributes:
        weights: d, the number of weights.
        data: n, the number of samples that it is for.
        value: The effective dimension.
        error: Its standard error from the drawn weights; None at trained weights.
        normalised: The same over d.
        spectrum: Eigenvalues of F̂, the largest first: their means over θ.
        rank: Eigenvalues above ``SMALL`` of the largest: the most at any θ.
    """

    weights: int
    data: int
    value: float
    error: float | None
    normalised: float
    spectrum: list[float]
    rank: int


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Derivatives of class probabilities at one set of weights.

    Attributes:
        roots: √p(y|x) ∂log p(y|x)/∂θ, a row for each sample and class, (N · classes, d); rowsᵀ · rows / N is F.
        samples: N.
    """

    roots: np.ndarray
    samples: int


def of_circuit(subject: Subject, samples: int, rows: int, data: int, seed: int) -> EffectiveDimension:
    """The effective dimension of a circuit's weights over that many random ones, each with as many inputs.

    Raises:
        NotDefinedError: If the circuit has no weights.
    """
    if not subject.n_weights:
        raise NotDefinedError("it has no weights")
    random = generator(seed, "dimension", subject.name)
    inputs = subject.draw_inputs(random, rows)
    spectra = []
    for weights in subject.draw_weights(random, samples):
        found = _derivatives(subject, inputs, weights)
        fisher = found.roots.T @ found.roots / found.samples
        spectra.append(np.linalg.eigvalsh(fisher)[::-1].clip(0))
    return effective_dimension(np.array(spectra), data)


def at_trained_weights(subject: Subject, rows: int, data: int, seed: int) -> EffectiveDimension:
    """The local effective dimension of a trained circuit's weights."""
    assert subject.trained is not None
    if not subject.n_weights:
        raise NotDefinedError("it has no weights")
    inputs = subject.draw_inputs(generator(seed, "dimension", subject.name), rows)
    return local(_derivatives(subject, inputs, subject.trained), data)


def of_head(head: nn.Module, features: torch.Tensor, data: int) -> EffectiveDimension:
    """The local effective dimension of all weights of a trained head, from rows (N, n_features).

    Raises:
        NotDefinedError: If its derivatives would not fit into memory.
    """
    head, features = copy.deepcopy(head).double(), features.double()
    trainable = [parameter for parameter in head.parameters() if parameter.requires_grad]
    with torch.no_grad():
        logits = head(features)
    d = sum(parameter.numel() for parameter in trainable)
    if logits.numel() * d > LARGEST:
        raise NotDefinedError(f"its {logits.numel() * d:,} derivatives are too many; take fewer --rows")
    jacobian = np.empty((*logits.shape, d))
    for row, place in zip(features, jacobian, strict=True):
        for k, logit in enumerate(head(row[None])[0]):
            parts = torch.autograd.grad(logit, trainable, retain_graph=True)
            place[k] = torch.cat([part.flatten() for part in parts])
    return local(_roots(logits.numpy(), jacobian), data)


def local(found: Derivatives, data: int) -> EffectiveDimension:
    """The effective dimension at one set of weights."""
    roots = found.roots / np.sqrt(found.samples)
    n_rows, d = roots.shape
    gram = roots @ roots.T if n_rows < d else roots.T @ roots
    eigenvalues = np.zeros(d)
    eigenvalues[: len(gram)] = np.linalg.eigvalsh(gram)[::-1].clip(0)
    return effective_dimension(eigenvalues[None], data)


def effective_dimension(spectra: np.ndarray, data: int) -> EffectiveDimension:
    """From the eigenvalues of F at each set of weights, (heads, d), the largest first."""
    d = spectra.shape[1]
    trace = spectra.sum(axis=1).mean()
    scaled = d * spectra / trace if trace > 0 else spectra
    kappa = data / (2 * np.pi * np.log(data))
    halves = np.log1p(kappa * scaled).sum(axis=1) / 2
    largest = halves.max()
    roots = np.exp(halves - largest)
    value = 2 * (largest + np.log(roots.mean())) / np.log(kappa)
    error = None if len(roots) == 1 else 2 * Sampled.mean(roots).error / roots.mean() / np.log(kappa)
    return EffectiveDimension(
        weights=d,
        data=data,
        value=float(value),
        error=None if error is None else float(error),
        normalised=float(value / d),
        spectrum=scaled.mean(axis=0).tolist(),
        rank=int((spectra > SMALL * spectra.max(axis=1, keepdims=True, initial=NONE)).sum(axis=1).max()),
    )


def _derivatives(subject: Subject, inputs: np.ndarray, weights: np.ndarray) -> Derivatives:
    """Those of a circuit's class probabilities."""
    ((outputs,),) = subject.values(inputs, weights[None])
    repeated = np.repeat(weights[None], len(inputs), axis=0)
    by_output = np.stack(list(subject.gradients(inputs, repeated, np.eye(outputs.shape[1]))), axis=1)
    logits, slopes = _behind(subject.post_net, outputs)
    return _roots(logits, slopes @ by_output)


def _behind(post_net: nn.Module | None, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, classes), and their derivatives by the outputs, (N, classes, n_outputs)."""
    if post_net is not None:
        tensor = torch.from_numpy(outputs).requires_grad_()
        logits = post_net(tensor)
        # Rows don't mix, so that the derivative of a sum over rows holds that of each.
        slopes = [torch.autograd.grad(column.sum(), tensor, retain_graph=True)[0] for column in logits.unbind(1)]
        return logits.detach().numpy(), torch.stack(slopes, dim=1).numpy()
    n_outputs = outputs.shape[1]
    if n_outputs == 1:
        outputs = np.concatenate([outputs, np.zeros_like(outputs)], axis=1)
    return outputs, np.broadcast_to(np.eye(outputs.shape[1], n_outputs), (len(outputs), outputs.shape[1], n_outputs))


def _roots(logits: np.ndarray, jacobian: np.ndarray) -> Derivatives:
    """From logits (N, classes) and their derivatives (N, classes, d): ∂log p_y = J_y - Σ_z p_z J_z."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (shifted / shifted.sum(axis=1, keepdims=True))[:, :, None]
    of_logs = jacobian - (probabilities * jacobian).sum(axis=1, keepdims=True)
    return Derivatives(roots=(np.sqrt(probabilities) * of_logs).reshape(-1, jacobian.shape[2]), samples=len(logits))
