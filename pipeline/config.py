"""Every command's flags, where they were until rooms had their own: to be removed when nothing imports it."""

from pipeline.demo.config import DemoConfig
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.heads.choices import HEADS
from pipeline.heads.config import HeadsConfig
from pipeline.inference.config import EvalConfig, ExportConfig, PredictConfig
from pipeline.quantum.choices import C_DTYPES, ENTANGLERS, SIMULATORS
from pipeline.training.config import Hyperparameters, TrainConfig

__all__ = [
    "C_DTYPES",
    "ENTANGLERS",
    "HEADS",
    "SIMULATORS",
    "CompareConfig",
    "DemoConfig",
    "EvalConfig",
    "ExportConfig",
    "HeadsConfig",
    "Hyperparameters",
    "PredictConfig",
    "SweepConfig",
    "TrainConfig",
]
