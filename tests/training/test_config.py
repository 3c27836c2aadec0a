from pathlib import Path

import pytest

from pipeline.experiments.compare.config import CompareConfig
from pipeline.heads.registry import HEADS
from pipeline.inference.config import EvalConfig, PredictConfig
from pipeline.training.config import TrainConfig


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.qubits, config.depth, config.batch, config.epochs) == (4, 6, 4, 30)
    assert (config.lr, config.lr_step, config.lr_gamma, config.q_delta) == (4e-4, 10, 0.1, 0.01)
    assert (config.entangler, config.seed, config.simulator) == ("chain", 42, "lightning")


def test_all_values_out_of_range_are_named_at_once():
    with pytest.raises(ValueError, match="qubits") as problem:
        TrainConfig(qubits=0, depth=-1, lr=0.0, entangler="chian", epochs=0)
    assert problem.value.args == (
        "--qubits is 0; it must be 1 or more",
        "--depth is -1; it must be 0 or more",
        "--entangler is 'chian'; choose one of chain, ring, none (did you mean chain?)",
        "--epochs is 0; it must be 1 or more",
        "--lr is 0.0; it must be more than 0",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_learning_rate_must_be_a_positive_number(value):
    with pytest.raises(ValueError, match="--lr is"):
        TrainConfig(lr=value)


def test_eval_and_predict_check_their_values():
    with pytest.raises(ValueError, match=r"^--batch is 0; it must be 1 or more$"):
        EvalConfig(batch=0)
    with pytest.raises(ValueError, match="no images given"):
        PredictConfig()
    with pytest.raises(ValueError, match="exclude each other"):
        PredictConfig(images=(Path("a.jpg"),), json=True, csv=True)


def test_compare_names_all_that_is_wrong_with_its_values_at_once():
    with pytest.raises(ValueError, match="--lr is") as problem:
        CompareConfig(lr=-1.0, seeds=0, folds=1, heads=("quantum", "quantom"), address="auto")
    assert problem.value.args == (
        "--lr is -1.0; it must be more than 0",
        "--seeds is 0; it must be 1 or more",
        "--folds is 1; it must be 2 or more",
        f"--heads has 'quantom'; choose one of {', '.join(HEADS)} (did you mean quantum?)",
        "--reference is 'classical'; it must be one of --heads: quantum, quantom",
        "--address is 'auto', which is for --engine ray",
    )


@pytest.mark.parametrize("heads", [(), ("classical",), ("classical", "mlp", "mlp")])
def test_compare_takes_two_heads_or_more_each_once(heads):
    with pytest.raises(ValueError, match="name two or more, each once"):
        CompareConfig(heads=heads)
