"""What is concluded from planted accuracies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.experiments.compare.conclusion import conclude
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.record import Comparison, SetFigures, SplitSizes, TrialResult
from pipeline.experiments.compare.results import figures
from pipeline.experiments.compare.words import Unit


def comparison_of(accuracies, reference="classical", seeds=10, folds=5):
    """A comparison of planted accuracies: for each head an array of shape (seeds, folds)."""
    found = {
        head: [
            TrialResult(
                seed=seed,
                fold=fold,
                n_train=80,
                n_inner=0,
                n_test=20,
                epoch=1,
                accuracy=values[seed, fold or 0],
                loss=0.5,
                best_epoch=1,
                best_accuracy=values[seed, fold or 0],
            )
            for seed in range(seeds)
            for fold in (*range(folds), None)
        ]
        for head, values in accuracies.items()
    }
    config = CompareConfig(seeds=seeds, folds=folds, reference=reference, heads=tuple(accuracies))
    judged = figures({"plain": found}, config.heads, reference, "accuracy")["plain"]
    return Comparison(
        created="",
        config=config,
        sets={"plain": SetFigures(images=100, published=SplitSizes(train=80, val=20), figures=judged)},
    )


def planted(*differences, noise=0.01):
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    heads = {"classical": base}
    for name, difference in zip(("quantum", "mlp", "linear"), differences, strict=False):
        heads[name] = base + difference + rng.normal(0, noise, (10, 5))
    return comparison_of(heads)


def test_a_planted_difference_is_concluded_with_its_direction():
    text = conclude(planted(-0.03, 0.0))
    assert "the quantum head is worse than the classical head" in text
    assert "p < 0.001 corrected" in text
    assert "of mlp none differs detectably" in text
    assert "the quantum head is better than the classical head" in conclude(planted(+0.03))


def test_no_difference_is_no_conclusion_either_way_and_says_what_would_be_missed():
    comparison = planted(0.0, 0.05, 0.0)
    text = conclude(comparison)
    visible = 100 * comparison.first.figures["k-fold"]["quantum"].smallest_visible
    assert "it can't be concluded that the quantum head is better or worse than the classical head" in text
    assert f"would often miss a true difference of less than {visible:.1f} points" in text
    assert "mlp (+" in text
    assert "differs detectably from classical, linear does not" in text
    assert "more images" in text


def test_what_the_most_frequent_class_and_duplicates_alone_would_reach_is_said():
    comparison = planted(0.03)
    (name, found), *_ = comparison.sets.items()

    def said(**changed) -> str:
        return conclude(replace(comparison, sets={name: replace(found, **changed)}))

    plain = conclude(comparison)
    assert said(most_frequent=0.85) == plain
    assert said(most_frequent=0.91) == (
        f"{plain} Always the most frequent class would be right on 91.0 %, which classical does not exceed: --metric "
        "balanced_accuracy says more."
    )
    assert "which quantum and classical do not exceed" in said(most_frequent=0.95)
    assert said(repeated=3) == (
        f"{plain} 3 of the 100 images have the features of another: folds share such, which flatters all accuracies."
    )


def test_where_the_fitted_head_is_ahead_longer_training_is_advised():
    heads = {name: np.full((10, 5), 0.8) for name in ("classical", "quantum")}
    ahead = {"logistic": 0.9 + np.random.default_rng(0).normal(0, 0.01, (10, 5))}
    said = "Logistic is fitted to its optimum, while the others learn for 30 epochs: longer training may bring them "
    assert f"{said}nearer, as --epochs 90 --decay-steps 600." in conclude(comparison_of(heads | ahead))
    assert said not in conclude(comparison_of(heads | {"logistic": 1.6 - ahead["logistic"]}))
    assert said not in conclude(comparison_of(heads | ahead | {"quantum": ahead["logistic"] + 0.05}))


def test_a_split_that_was_drawn_here_is_not_called_published():
    found = planted(0.0).first
    assert found.split == replace(found, features={"backbone": "resnet18", "selection": {}}).split == "published split"
    assert replace(found, features={"backbone": ""}).split == "train/val split"
    assert replace(found, features={"backbone": "resnet18", "selection": {"split": 0.2}}).split == "train/val split"


def test_another_reference_turns_the_differences_round():
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    heads = {"quantum": base - 0.03 + rng.normal(0, 0.01, (10, 5)), "classical": base}
    to_classical, to_quantum = (
        comparison_of(heads, reference).first.figures["k-fold"] for reference in ("classical", "quantum")
    )
    assert to_quantum["classical"].difference.mean == -to_classical["quantum"].difference.mean
    assert "the classical head is better than the quantum head" in conclude(comparison_of(heads, "quantum"))


def test_a_difference_on_which_only_seeds_agree_is_told_as_one_of_these_images():
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    quantum = base + rng.normal(0, 0.03, (10, 5))
    # The first column stands for the published split too.
    quantum[:, 0] = base[:, 0] - 0.01 + rng.normal(0, 0.002, 10)
    text = conclude(comparison_of({"classical": base, "quantum": quantum}))
    assert "it can't be concluded" in text
    assert "points on which the seeds agree in the published split (p < 0.001 corrected) tell of its 20 images" in text
    assert "seeds agree" not in conclude(planted(0.0))


def test_imported_rows_are_called_rows():
    comparison = planted(0.0, 0.05, 0.0)
    comparison = replace(comparison, sets={"plain": replace(comparison.first, features={"backbone": ""})})
    text = conclude(comparison)
    assert "over 100 rows" in text
    assert "would take more rows" in text
    assert "images" not in text


def test_points_have_a_sign_unless_they_round_to_zero():
    points = Unit("accuracy").difference
    assert [points(value) for value in (0.012, -0.0004, 0.0004, -0.05)] == ["+1.2", "0.0", "0.0", "−5.0"]
    assert [Unit("log_loss").difference(value) for value in (0.0124, -0.0004)] == ["+0.012", "0.000"]


def test_heads_that_never_differ_are_told_as_such():
    base = np.full((10, 5), 0.9)
    assert "in every single training the same" in conclude(comparison_of({"classical": base, "quantum": base}))
    assert "too little to judge" in conclude(comparison_of({"classical": base, "quantum": base + 0.01}))
