"""The memory of a sweep: an Optuna study in a journal on the disk, written by several processes, read by any later one.

In: a ``SweepConfig``, and the features, from whose fingerprint the study's name follows: another protocol is another
study in the same journal.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.cache.featureset import FeatureSet
from features.util.errors import InputError
from features.util.files import write_bytes
from features.util.flags import FlagError
from features.util.provenance import canonical_json
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.registry import new_head
from pipeline.training.config import TrainConfig

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SEARCHED = ("qubits", "depth", "entangler", "q_delta", "lr", "batch")


def need_optuna() -> None:
    """Raise an InputError that says what to install, unless Optuna is there."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            f"make sweep needs Optuna, which is not installed; install it: {sys.executable} -m pip install 'optuna>=4'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(config: SweepConfig, features: FeatureSet, first: dict[str, Any]) -> Study:
    """The study of this protocol, gone on with if it is in the journal; to be called while no process works on it.

    Args:
        config: The protocol, and the folder.
        features: The features.
        first: The setting that a new study tries first.
    """
    from optuna.trial import TrialState

    file = _journal(config)
    # What killed processes may have left: a lock, a line without its end, trials under way.
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.is_file() and not (text := file.read_bytes()).endswith(b"\n"):
        write_bytes(file, text[: text.rfind(b"\n") + 1])
    study = connect(config, features)
    study.enqueue_trial(first, skip_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def connect(config: SweepConfig, features: FeatureSet, sampler_seed: int = 0) -> Study:
    """The study as one process works on it; one of an earlier version, if that is what the journal holds."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    names = [_name(config, content_sha256) for content_sha256 in (features.content_sha256, *features.known_as)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(_journal(config))))
        there = {study.study_name for study in storage.get_all_studies()}
        return optuna.create_study(
            storage=storage,
            study_name=next((name for name in names if name in there), names[0]),
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=sampler_seed, multivariate=True, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=config.epochs // 3),
        )


def qubits_of(config: SweepConfig, features: FeatureSet) -> tuple[int, int]:
    """The least and the largest number of qubits to try: those of 2 to 6 that the circuit can take.

    A circuit from a file may be written for some; features as amplitudes settle it, so that there is nothing to try.

    Raises:
        InputError: if it can take none of them.
    """
    default = TrainConfig(circuit=config.circuit, simulator="dense")
    inputs: dict[int, int] = {}
    for qubits in range(2, 7):
        try:
            with warnings.catch_warnings():
                # Of a circuit that can't be traced with so many: it is not tried with these.
                warnings.simplefilter("ignore", RuntimeWarning)
                head = new_head(replace(default, qubits=qubits), features.width, len(features.provenance.classes))
        except FlagError as error:
            problem = error
            continue
        assert isinstance(head, DressedQuantumNet)
        inputs[qubits] = head.circuit.n_inputs
    if not inputs:
        raise problem
    return (min(inputs), max(inputs)) if len(set(inputs.values())) > 1 else (default.qubits, default.qubits)


def done(study: Study) -> int:
    """Trials that came to their end, or were cut short for being behind."""
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def best(study: Study) -> FrozenTrial | None:
    """The trial of the highest value among those that came to their end."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: trial.values, default=None)


def _name(config: SweepConfig, content_sha256: str) -> str:
    protocol = [content_sha256, config.epochs, config.folds, config.repeats, config.seed, SEARCHED]
    protocol += [config.circuit] if config.circuit != "mari" else []
    return hashlib.sha256(canonical_json(protocol).encode()).hexdigest()[:16]


def _journal(config: SweepConfig) -> Path:
    return config.out / "journal.log"
