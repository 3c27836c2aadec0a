import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from features.util.errors import InputError
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.names import HEAD, HISTORY
from pipeline.training.run import load_run


@pytest.fixture
def run(feature_file, tmp_path):
    return train(TrainConfig(features=feature_file, out=tmp_path / "run", epochs=2, batch=8))


def change_head(folder, change):
    """Rewrite head.safetensors with its metadata or tensors changed."""
    with safe_open(folder / HEAD, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    (folder / HEAD).write_bytes(save(tensors, metadata))


def test_a_saved_run_loads_as_it_was(run):
    loaded = load_run(run.path)
    features = torch.randn(3, 512)
    for which in ("last", "best"):
        assert torch.equal(loaded.head(which)(features), run.head(which)(features))
    for name in ("config", "features", "epochs", "parameters", "seconds", "created", "versions", "history"):
        assert getattr(loaded, name) == getattr(run, name)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no run folder .*; make it: python -m pipeline train --out"):
        load_run(tmp_path / "none")


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no finished run .* train first"):
        load_run(tmp_path)
    (tmp_path / ".run.unfinished").mkdir()
    with pytest.raises(InputError, match=r"is not finished; finish it: .* --resume"):
        load_run(tmp_path / "run")


def test_a_truncated_head_is_refused(run):
    head = run.path / HEAD
    head.write_bytes(head.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"head\.safetensors is damaged"):
        load_run(run.path)


def test_a_run_of_an_unknown_version_is_refused(run):
    change_head(run.path, lambda metadata, _: metadata.update(format_version="99"))
    with pytest.raises(InputError, match="has format version 99, this program reads 1, 2, 3"):
        load_run(run.path)


def test_foreign_weights_are_refused(run):
    (run.path / HEAD).write_bytes(save({"weight": torch.zeros(3)}))
    with pytest.raises(InputError, match="was not made by `make train`"):
        load_run(run.path)


def test_a_head_of_another_width_is_refused(run):
    change_head(run.path, lambda _, tensors: tensors.update({"last.pre_net.weight": torch.zeros(4, 100)}))
    with pytest.raises(InputError, match=r"is damaged .*size mismatch for pre_net\.weight"):
        load_run(run.path)


def test_a_damaged_history_is_refused(run):
    (run.path / HISTORY).write_text("{not json\n")
    with pytest.raises(InputError, match=r"the run in .* is damaged"):
        load_run(run.path)


def test_a_recorded_value_out_of_range_is_refused(run):
    def change(metadata, _):
        record = json.loads(metadata["record"])
        record["config"]["qubits"] = 0
        metadata["record"] = json.dumps(record)

    change_head(run.path, change)
    with pytest.raises(InputError, match="--qubits is 0"):
        load_run(run.path)
