from pathlib import Path

import pytest

from pipeline.config import EvalConfig, PredictConfig, TrainConfig


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.qubits, config.depth, config.batch, config.epochs) == (4, 6, 4, 30)
    assert (config.lr, config.lr_step, config.lr_gamma, config.q_delta) == (4e-4, 10, 0.1, 0.01)
    assert (config.entangler, config.seed, config.simulator) == ("chain", 42, "lightning")


def test_all_values_out_of_range_are_named_at_once():
    with pytest.raises(ValueError, match="qubits") as problem:
        TrainConfig(qubits=0, depth=-1, lr=0.0, entangler="chian", epochs=0)
    assert str(problem.value) == (
        "--qubits is 0; it must be 1 or more; --depth is -1; it must be 0 or more; --epochs is 0; it must be 1 or "
        "more; --lr is 0.0; it must be more than 0; --entangler is 'chian'; choose one of chain, ring, none "
        "(did you mean chain?)"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_learning_rate_must_be_a_positive_number(value):
    with pytest.raises(ValueError, match="--lr is"):
        TrainConfig(lr=value)


def test_eval_and_predict_check_their_values():
    with pytest.raises(ValueError, match=r"--batch is 0 \(1 or more\)"):
        EvalConfig(batch=0)
    with pytest.raises(ValueError, match="no images given"):
        PredictConfig()
    with pytest.raises(ValueError, match="exclude each other"):
        PredictConfig(images=(Path("a.jpg"),), json=True, csv=True)
