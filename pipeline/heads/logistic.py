"""The baseline to beat: scikit-learn's logistic regression as a head.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes). It is fitted once instead of trained.
"""

from __future__ import annotations

import numpy as np
import torch

from features.util.errors import InputError
from pipeline.heads.base import check_features, refuse_non_finite
from pipeline.heads.baselines import LinearNet

STRENGTHS = tuple(10.0**k for k in range(-4, 3))
INNER_FOLDS = 5


class LogisticNet(LinearNet):
    """Logistic regression with an L2 penalty, fitted by scikit-learn, in the shape of :class:`LinearNet`.

    Attributes:
        C: The inverse strength of regularisation that :meth:`fit` chose; 0 before.
    """

    C: torch.Tensor

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__(n_features, n_classes)
        self.register_buffer("C", torch.zeros(()))

    def fit(self, features: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
        """Fit to the optimum, with C chosen by 5-fold cross-validated log loss on these very rows and no others.

        Args:
            features: Shape (N, n_features).
            labels: Class indices, int64 of shape (N,).
            seed: Of the inner folds.

        Raises:
            InputError: If the classes are fewer than 2, or one has fewer than 2 rows.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from threadpoolctl import threadpool_limits

        check_features(features, self.n_features, self.linear.weight.dtype)
        refuse_non_finite(features, features)
        counts = np.bincount(labels.numpy(), minlength=self.linear.out_features)
        if len(counts) < 2 or counts.min() < 2:
            raise InputError(
                f"the logistic head needs 2 classes or more with 2 training rows each, to choose its regularisation by "
                f"cross-validation; here the classes have {', '.join(map(str, counts))}"
            )
        folds = StratifiedKFold(int(min(INNER_FOLDS, counts.min())), shuffle=True, random_state=seed)
        model = LogisticRegression(max_iter=2000)
        search = GridSearchCV(model, {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
        # For arrays this small a second thread costs more than it does.
        with threadpool_limits(1):
            best = search.fit(features.double().numpy(), labels.numpy()).best_estimator_
        weight, bias = torch.from_numpy(best.coef_), torch.from_numpy(best.intercept_)
        if len(weight) == 1:
            # For two classes scikit-learn keeps one logit, their difference.
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            self.C.fill_(best.C)
