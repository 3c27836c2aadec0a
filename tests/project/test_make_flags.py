import pytest

from pipeline.flags import flags_for


@pytest.mark.parametrize(
    ("goal", "given", "expected"),
    [
        ("eval", ["--epochs", "3"], {"features": [], "train": ["--epochs", "3"], "eval": []}),
        ("eval", ["--force", "--epochs=3"], {"features": ["--force"], "train": ["--epochs=3"], "eval": []}),
        ("features", ["--batch", "8"], {"features": ["--batch", "8"]}),
        ("train", ["--batch", "8"], {"features": [], "train": ["--batch", "8"]}),
        ("eval", ["--batch", "8"], {"features": [], "train": ["--batch", "8"], "eval": []}),
        ("eval", ["--views", "8", "--workers", "1"], {"features": ["--views", "8"], "train": ["--views", "8"]}),
        ("eval", ["--workers", "1"], {"features": [], "train": [], "eval": ["--workers", "1"]}),
        ("eval", ["--note", "two words", "--lr-step", "2"], {"features": ["--note", "two words"], "eval": []}),
        ("predict", ["--epochs", "3", "--csv"], {"train": ["--epochs", "3"], "predict": ["--csv"]}),
        (
            "demo",
            ["--epochs", "3", "--port", "8000", "--open"],
            {"train": ["--epochs", "3"], "demo": ["--port", "8000", "--open"]},
        ),
        ("export", ["--epoch", "best", "--epochs", "3"], {"train": ["--epochs", "3"], "export": ["--epoch", "best"]}),
        ("compare", ["--epochs", "3", "--note", "x"], {"features": ["--note", "x"], "compare": ["--epochs", "3"]}),
        (
            "compare",
            ["--heads", "quantum", "classical"],
            {"features": [], "compare": ["--heads", "quantum", "classical"]},
        ),
        (
            "eval",
            ["--q-device", "default.mixed", "--noise", "readout=0.1", "none", "--shots", "0", "8"],
            {
                "features": [],
                "train": [],
                "eval": ["--q-device", "default.mixed", "--noise", "readout=0.1", "none", "--shots", "0", "8"],
            },
        ),
        (
            "eval",
            ["--q-device-options", "seed=1"],
            {"features": [], "train": [], "eval": ["--q-device-options", "seed=1"]},
        ),
        ("train", ["--q-device", "default.qubit"], {"features": [], "train": ["--q-device", "default.qubit"]}),
        ("eval", ["--epocs", "3"], {"train": [], "eval": ["--epocs", "3"]}),
    ],
)
def test_each_flag_goes_where_it_belongs(goal, given, expected):
    assert {stage: flags_for(stage, goal, given) for stage in expected} == expected
