"""The benchmarks of stages 1 and 3, on tiny work: that everything runs, and what the records and tables hold."""

import json
import sys

import pytest

from features.util.errors import run_command
from pipeline.bench import extraction, hybrid
from pipeline.bench.__main__ import BenchConfig, main


@pytest.fixture
def bench(monkeypatch, tmp_path):
    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--out", str(tmp_path), *flags])
        assert run_command(main) == 0
        return tmp_path

    return run


def test_stage_3_is_timed_against_a_plain_network(bench, random_weights):
    out = bench("--hybrid", "--weights", str(random_weights))
    record = json.loads((out / "hybrid.json").read_text())
    for batch in ("1", "32"):
        seconds = record["seconds_an_image"][batch]
        assert set(seconds) == set(hybrid.LABELS)
        assert all(len(samples) == 2 and min(samples) > 0 for samples in seconds.values())
    assert max(record["differences"].values()) <= 1e-4
    assert {row["bound"] for row in record["targets"]} == {"≤ 1.15", "≤ 1.05"}
    table = (out / "hybrid.md").read_text()
    assert all(label in table for label in hybrid.LABELS.values())


def test_stage_1_is_timed_against_torch(bench, picture_folder, random_weights):
    out = bench("--extraction", "--data", str(picture_folder), "--weights", str(random_weights))
    record = json.loads((out / "extraction.json").read_text())
    assert set(record["seconds_an_image"]) == set(extraction.LABELS)
    assert (
        record["differences"]["network"]["max_difference"] <= 1e-5 * record["differences"]["network"]["feature_scale"]
    )
    assert len(record["peak_memory_bytes"]) == 2
    assert len(record["targets"]) == 4
    assert "Peak memory" in (out / "extraction.md").read_text()


def test_one_benchmark_at_a_time():
    with pytest.raises(ValueError, match="--peers, --extraction and --hybrid exclude each other"):
        BenchConfig(extraction=True, hybrid=True)
