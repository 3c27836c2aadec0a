"""All heads by name: how each is built from a configuration, and how it is trained.

In: a ``HeadConfig``. Out: an untrained head. A further head is a file with its class, and an entry here.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from features.util.errors import first_line
from features.util.flags import FlagError
from pipeline.heads.config import CircuitFlags
from pipeline.quantum.choices import CDtype, Simulator

if TYPE_CHECKING:
    from pipeline.heads.base import Head
    from pipeline.heads.dressed import DressedQuantumNet


@dataclass(frozen=True, kw_only=True)
class HeadEntry:
    """One kind of head.

    Attributes:
        summary: A few words for the list of heads.
        build: Makes an untrained head from a configuration, the width of the features and the number of classes.
        compared: Whether ``compare`` takes it unless told otherwise.
        of_circuit: Whether it holds the circuit that ``--circuit`` names.
        prepared: Whether ``Head.prepare`` looks at all training rows before the first step.
        phases: Times that it goes through all epochs, each time training something else. 0 of a head that
            ``Head.prepare`` fits; the others are trained step by step, and many of them side by side.
    """

    summary: str
    build: Callable[[HeadConfig, int, int, str | None], Head]
    compared: bool = True
    of_circuit: bool = False
    prepared: bool = False
    phases: int = 1

    @property
    def fitted(self) -> bool:
        """Whether the head is fitted at once instead of trained step by step."""
        return self.phases == 0


# torch takes seconds to import, and the names are needed to check flags: each builder imports its own class.
def _quantum(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    from pipeline.heads.dressed import DressedQuantumNet

    return _dressed(DressedQuantumNet, config, n_features, n_classes, source)


def _dressed(
    kind: type[DressedQuantumNet], config: HeadConfig, n_features: int, n_classes: int, source: str | None
) -> Any:
    from pipeline.heads.bound import BoundCircuit, circuit_of_source

    circuit: str | BoundCircuit = config.circuit
    if source is not None:
        n_inputs = n_features if config.pre_net == "none" else None
        circuit = circuit_of_source(source, config.circuit, config.qubits, config.depth, n_inputs)
    return kind(
        n_features,
        n_classes,
        config.qubits,
        config.depth,
        config.q_delta,
        config.simulator,
        device=config.q_device,
        entangler=config.entangler,
        c_dtype=config.c_dtype,
        circuit=circuit,
        pre_net=config.pre_net,
    )


def _separable(config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    control = replace(config, circuit="mari", pre_net="linear", entangler="none")
    return _quantum(control, n_features, n_classes, None)


def _frozen(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    head = _quantum(config, n_features, n_classes, source)
    head.get_parameter("q_params").requires_grad_(False)
    return head


def _classical(config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.baselines import ClassicalNet

    return ClassicalNet(n_features, n_classes, config.qubits)


def _mlp(config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.baselines import MlpNet

    return MlpNet(n_features, n_classes, config.qubits, config.depth)


def _ends_frozen(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    head = _quantum(config, n_features, n_classes, source)
    for name, parameter in head.named_parameters():
        parameter.requires_grad_(name == "q_params")
    return head


def _pca(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    from pipeline.heads.controls.pca import PcaNet

    return _dressed(PcaNet, replace(config, pre_net="linear"), n_features, n_classes, source)


def _sequential(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    from pipeline.heads.controls.sequential import SequentialNet

    head = _dressed(SequentialNet, replace(config, pre_net="linear"), n_features, n_classes, source)
    # Each phase starts as the head does that is trained like it: classical from this very layer, and quantum.
    inputs = head.get_parameter("pre_net.bias").numel()
    classical = new_head(replace(config, head="classical", qubits=inputs), n_features, n_classes)
    head.get_submodule("classical_net").load_state_dict(classical.get_submodule("post_net").state_dict())
    return head


def _rbf_svm(_config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.kernels import RbfSvmNet

    return RbfSvmNet(n_features, n_classes)


def _fidelity_svm(config: HeadConfig, n_features: int, n_classes: int, source: str | None) -> Head:
    from pipeline.heads.controls.kernels import FidelitySvmNet
    from pipeline.heads.dressed import DressedQuantumNet

    # States are to be had from this simulator alone.
    dense = replace(config, pre_net="linear", simulator="dense")
    return FidelitySvmNet(_dressed(DressedQuantumNet, dense, n_features, n_classes, source), n_classes)


def _surrogate(config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.surrogates import MAX_WIRES, SurrogateNet

    if config.qubits > MAX_WIRES:
        raise FlagError(f"--qubits is {config.qubits}; --head surrogate has 3^qubits features: at most {MAX_WIRES}")
    return SurrogateNet(n_features, n_classes, config.qubits)


def _fourier(config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.surrogates import FourierNet

    return FourierNet(n_features, n_classes, config.qubits, config.qubits * config.depth)


def _linear(_config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.baselines import LinearNet

    return LinearNet(n_features, n_classes)


def _logistic(_config: HeadConfig, n_features: int, n_classes: int, _source: str | None) -> Head:
    from pipeline.heads.controls.baselines import LogisticNet

    return LogisticNet(n_features, n_classes)


HEADS: dict[str, HeadEntry] = {
    "quantum": HeadEntry(summary="the paper's dressed circuit", build=_quantum, of_circuit=True),
    "separable": HeadEntry(summary="dressed circuit without entangling gates", build=_separable),
    "frozen": HeadEntry(summary="dressed circuit whose weights stay as they start", build=_frozen, of_circuit=True),
    "classical": HeadEntry(summary="circuit removed", build=_classical),
    "mlp": HeadEntry(summary="a classical layer of as many parameters in the circuit's place", build=_mlp),
    "linear": HeadEntry(summary="one linear layer", build=_linear),
    "logistic": HeadEntry(
        summary="scikit-learn's logistic regression, cross-validated", build=_logistic, prepared=True, phases=0
    ),
    "surrogate": HeadEntry(
        summary="every circuit with one rotation a wire in front, without one",
        build=_surrogate,
        compared=False,
    ),
    "fourier": HeadEntry(summary="as many random cosines as the circuit has weights", build=_fourier, compared=False),
    "ends-frozen": HeadEntry(
        summary="dressed circuit of which only the circuit is trained",
        build=_ends_frozen,
        compared=False,
        of_circuit=True,
    ),
    "sequential": HeadEntry(
        summary="dressed circuit behind the first layer of a trained classical head",
        build=_sequential,
        compared=False,
        of_circuit=True,
        phases=2,
    ),
    "rbf-svm": HeadEntry(
        summary="scikit-learn's support vector machine, Gaussian kernel, cross-validated",
        build=_rbf_svm,
        compared=False,
        prepared=True,
        phases=0,
    ),
    "fidelity-svm": HeadEntry(
        summary="support vector machine on fidelities of the circuit's states, cross-validated",
        build=_fidelity_svm,
        compared=False,
        of_circuit=True,
        prepared=True,
        phases=0,
    ),
    "pca": HeadEntry(
        summary="circuit behind principal components instead of a trained layer",
        build=_pca,
        compared=False,
        of_circuit=True,
        prepared=True,
    ),
}

if TYPE_CHECKING:
    HeadName = str
else:
    HeadName = Literal[tuple(HEADS)]
"""The type of a flag that names a head."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig(CircuitFlags):
    """All that a head is made of."""

    head: HeadName = "quantum"
    """`quantum`, the paper's, or a baseline; `python -m pipeline heads` lists them. Flags of the circuit change nothing
    in heads without one."""
    simulator: Simulator = "lightning"
    """`lightning`: lightning.qubit with adjoint differentiation, a batch as one circuit. `dense`: matrix products, for
    few qubits. `qnode`: an ordinary QNode on --q-device, the slow reference."""
    q_device: str = "default.qubit"
    """PennyLane device of the `qnode` simulator."""
    c_dtype: CDtype = "complex128"
    """Precision of the `lightning` simulator: `complex128` or `complex64`."""


def new_head(config: HeadConfig, n_features: int, n_classes: int, source: str | None = None) -> Head:
    """An untrained head of kind ``config.head``; its initial weights follow from ``config.seed`` alone.

    Args:
        config: Its settings.
        n_features: Width of the input.
        n_classes: Number of classes.
        source: The recorded text of the file that ``config.circuit`` names; the file is read if None.

    Raises:
        FlagError: If its circuit does not fit into memory, or its file holds none that can be used.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            return HEADS[config.head].build(config, n_features, n_classes, source)
        except ValueError as error:
            # Heads name their arguments; here these come from flags.
            text = re.sub(r"simulator='(\w+)'", r"--simulator \1", str(error))
            raise FlagError(text.replace("n_qubits is", "--qubits is")) from error
        except Exception as error:
            if ":" not in config.circuit:
                raise
            from pipeline.heads.bound import FILE_NAME

            # The user's own code may raise anything.
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE_NAME]
            where = f", line {lines[-1]}" if lines else ""
            raise FlagError(
                f"the circuit {config.circuit}{where} fails with --qubits {config.qubits} and --depth {config.depth}: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
