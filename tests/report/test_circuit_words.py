"""What the report says of the circuit's parts."""

from pipeline.heads.controls.ablations import Ablation, Ablations
from pipeline.report.circuit import ablation_words
from pipeline.report.words import percent


def test_the_verdicts_follow_the_intervals():
    parts = [
        Ablation(name="mean", words="…", accuracy=0.5, cost=0.4, cost95=(0.3, 0.5)),
        Ablation(name="shuffled", words="…", accuracy=0.52, cost=0.38, cost95=(0.28, 0.48)),
        Ablation(name="affine", words="…", accuracy=0.91, cost=-0.01, cost95=(-0.03, 0.02)),
        Ablation(name="unentangled", words="…", accuracy=0.7, cost=0.2, cost95=(0.12, 0.29)),
    ]
    found = Ablations(images=200, accuracy=0.9, permutations=20, seed=0, parts=parts)
    first, linear, entangled = ablation_words(found)
    assert f"right on {percent(0.9)} of these 200 images; answering as often for each class, but at random" in first
    assert f"it would be on {percent(0.52)}." in first
    assert linear == (
        "Replacing the circuit by the closest linear map costs −1.0 points (95 % interval −3.0 to +2.0), which these "
        "images can't tell from nothing."
    )
    assert entangled.endswith("costs +20.0 points (95 % interval +12.0 to +29.0), so they are needed here.")
    parts[2] = Ablation(name="affine", words="…", accuracy=0.95, cost=-0.05, cost95=(-0.08, -0.02))
    parts[3] = Ablation(name="unentangled", words="…", not_run="none of its gates is on several wires")
    first, linear, entangled = ablation_words(found)
    assert linear.endswith("so what it does beyond that is harmful here.")
    assert (
        entangled == "Leaving out its gates on several wires was not possible: none of its gates is on several wires."
    )
