"""A dressed quantum head as a scikit-learn classifier: rows of features and labels → a trained head.

In: arrays, sparse matrices or data frames of shape (n_samples, n_features), and labels of any kind. For users of
scikit-learn: use it wherever a classifier goes, in ``Pipeline``, ``GridSearchCV``, ``CalibratedClassifierCV``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pipeline.heads.dressed import DressedQuantumNet
from pipeline.training.epochs import one_thread
from pipeline.training.optimizer import Adam
from pipeline.training.samples import epoch_order

ROWS_AT_ONCE = 4096
"""Rows that a prediction takes at once, so that a sparse matrix is never dense as a whole."""


class QuantumHeadClassifier(ClassifierMixin, BaseEstimator):
    """Linear → tanh → · π/2 → quantum circuit → Linear, trained by Adam on the cross-entropy.

    Scale the features first, as for every network. As in scikit-learn's own classifiers that learn in batches, a row
    of weight 2 is not the same as the row twice, because the batches differ; with ``batch_size=None`` it is.

    Args:
        circuit: A circuit by name, ``my_circuit.py:name``, or a quantum function or QNode; as of ``DressedQuantumNet``.
        n_qubits: Wires of the circuit.
        depth: Variational layers of a circuit by name.
        weight_shapes: Shape of each weight of a quantum function or QNode.
        pre_net: ``linear``, or ``none``: the features themselves are the circuit's inputs; ``auto`` is what fits.
        simulator: ``lightning``, ``dense`` or ``qnode``.
        epochs: Times that ``fit`` learns from every row.
        batch_size: Rows a step; None takes all.
        learning_rate: Of Adam.
        class_weight: Weight of each class, as a dict or ``balanced``.
        random_state: Of initial weights and the order of rows: a number for the same head each time.

    Attributes:
        classes_: The classes, in the order of ``predict_proba``'s columns.
        head_: The trained ``DressedQuantumNet``, a ``torch.nn.Module``.
        n_features_in_: Width of the features.
        epochs_: Epochs learned so far, ``partial_fit``'s included.
    """

    classes_: NDArray[Any]
    head_: DressedQuantumNet
    n_features_in_: int
    epochs_: int

    def __init__(
        self,
        *,
        circuit: Callable[..., Any] | str = "mari",
        n_qubits: int = 4,
        depth: int = 6,
        weight_shapes: Mapping[str, int | Sequence[int]] | None = None,
        pre_net: str = "auto",
        simulator: str = "lightning",
        epochs: int = 60,
        batch_size: int | None = 16,
        learning_rate: float = 0.003,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.circuit = circuit
        self.n_qubits = n_qubits
        self.depth = depth
        self.weight_shapes = weight_shapes
        self.pre_net = pre_net
        self.simulator = simulator
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> QuantumHeadClassifier:
        """Train a new head.

        Args:
            X: Features of shape (n_samples, n_features), float32 or float64; sparse and data frames too.
            y: Labels of shape (n_samples,), numbers or text.
            sample_weight: Weight of each row, of shape (n_samples,).

        Raises:
            ValueError: If the input can't be used, or the head can't be made; the message says why.
        """
        rows, labels = self._validated(X, y, first=True)
        check_classification_targets(labels)
        weights = self._weights(rows, labels, sample_weight)
        self._start(np.unique(labels), rows)
        self._learn(rows, labels, weights, self.epochs)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> QuantumHeadClassifier:
        """Learn once from each of these rows; the first call needs ``classes``, unless ``fit`` came before it.

        Raises:
            ValueError: As ``fit``, and for labels that are none of the classes.
        """
        first = not hasattr(self, "head_")
        rows, labels = self._validated(X, y, first)
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit: later rows may hold others")
        known = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if not first and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes is {known} and was {self.classes_} before; they can't change")
        if not np.isin(labels, known).all():
            raise ValueError(f"y holds {np.setdiff1d(labels, known)}, which are none of the classes {known}")
        weights = self._weights(rows, labels, sample_weight)
        if first:
            self._start(known, rows)
        self._learn(rows, labels, weights, 1)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32])
        self.head_.eval()
        with torch.no_grad(), one_thread():
            chunks = [self._tensor(rows[k : k + ROWS_AT_ONCE]) for k in range(0, rows.shape[0], ROWS_AT_ONCE)]
            return torch.cat([self.head_(chunk).softmax(dim=1) for chunk in chunks]).numpy()

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class of each row, of shape (n_samples,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_clone__(self) -> QuantumHeadClassifier:
        # A QNode of a Lightning device can't be copied, and none of the parameters is ever changed in place.
        return type(self)(**self.get_params(deep=False))

    def _validated(self, X: ArrayLike, y: ArrayLike, first: bool) -> tuple[Any, NDArray[Any]]:
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        return validate_data(self, X, y, reset=first, accept_sparse="csr", dtype=[np.float64, np.float32])

    def _weights(self, rows: Any, labels: NDArray[Any], given: ArrayLike | None) -> torch.Tensor | None:
        """Each row's weight, their mean 1; None where all are alike."""
        if given is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(given, rows, dtype=np.float64, ensure_non_negative=True)
        weights = weights * compute_sample_weight(self.class_weight, labels)
        if not weights.any():
            raise ValueError("every row has weight 0 by sample_weight and class_weight; at least one must count")
        return None if (weights == weights[0]).all() else torch.from_numpy(weights / weights.mean())

    def _start(self, classes: NDArray[Any], rows: Any) -> None:
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            head = DressedQuantumNet(
                rows.shape[1],
                len(classes),
                n_qubits=self.n_qubits,
                depth=self.depth,
                circuit=self.circuit,
                weight_shapes=self.weight_shapes,
                pre_net=self.pre_net,
                simulator=self.simulator,
            )
        self.classes_, self.epochs_ = classes, 0
        self.head_ = head.to(torch.float32 if rows.dtype == np.float32 else torch.float64)
        self._optimizer = Adam(self.head_, self.learning_rate)

    def _learn(self, rows: Any, labels: NDArray[Any], weights: torch.Tensor | None, epochs: int) -> None:
        self.head_.train()
        self._optimizer.lr = self.learning_rate
        targets = torch.from_numpy(np.searchsorted(self.classes_, labels))
        with one_thread():
            for _ in range(epochs):
                for batch in epoch_order(self._seed, self.epochs_, len(targets)).split(self.batch_size or len(targets)):
                    shares = None if weights is None else weights[batch] / len(batch)
                    features = self._tensor(rows[batch.numpy()])
                    self.head_.backward_cross_entropy(features, targets[batch], shares)
                    self._optimizer.step()
                self.epochs_ += 1

    def _tensor(self, rows: Any) -> torch.Tensor:
        dense = rows.toarray() if hasattr(rows, "toarray") else np.array(rows)
        return torch.from_numpy(dense).to(self.head_.q_params.dtype)
