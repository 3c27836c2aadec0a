"""A training on several machines: Ray Train starts the processes, DistributedDataParallel joins their gradients.

In: a training as it stands, between two epochs. Out: its further epochs. Each process reads its own parts of the order
and takes its share of every step, so all of them together take the steps that one process would take. The first one
writes history and checkpoint where it would write them too; after a process is lost, all go on from the last epoch.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from features.cache.featureset import FeatureFile
from features.engines.ray_cluster import connect
from features.util.errors import InputError, first_line
from pipeline.heads.registry import new_head
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import Training, one_thread
from pipeline.training.names import CHECKPOINT, HISTORY
from pipeline.training.objective.schedule import learning_rate
from pipeline.training.record import CircuitRecord, EpochRecord
from pipeline.training.samples import Source, streamed
from pipeline.training.streaming.stream import StreamedSamples
from pipeline.util.tally import Tally

RETRIES = 2
LOOK_SECONDS = 0.3


def epochs_on_cluster(training: Training) -> Iterator[EpochRecord]:
    """Run the remaining epochs on a cluster; yield the record of each. ``training`` ends in the state of the last.

    Raises:
        InputError: if Ray can't be had, or the parts of a training that was begun can't be shared by these workers.
        NonFiniteError: if the training diverges.
    """
    config, order = training.config, training.order
    assert order is not None, "workers share rows that are streamed"
    if order.parts % config.workers:
        raise InputError(
            f"this training was begun in {order.parts} parts, and --workers is {config.workers}; that many must divide "
            "the parts, or start again with --force"
        )
    here = {} if config.address else {"num_cpus": config.workers}
    packages = [str(Path(__file__).parents[3] / name) for name in ("features", "pipeline")]
    ray = connect(config.address, runtime_env={"py_modules": packages}, **here)
    training.save()
    folder = training.folder.absolute()
    failed: list[BaseException] = []
    storage = folder.with_name(f"{folder.name}.ray")
    thread = threading.Thread(target=_fit, args=(training, folder, storage, failed), daemon=True)
    known = len(training.history)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            for record in _history(folder)[known:]:
                known += 1
                training.saved_epochs = known
                yield record
        if failed:
            raise _told(failed[0])
        training.restore(Checkpoint.load(folder / CHECKPOINT))
        yield from training.history[known:]
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _fit(training: Training, folder: Path, storage: Path, failed: list[BaseException]) -> None:
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        # Machines may see another working folder, and not the file of a circuit.
        features = replace(training.features, path=training.features.path.absolute())
        circuit = CircuitRecord.of(training.head)
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        TorchTrainer(
            work,
            train_loop_config={"config": training.config, "features": features, "circuit": circuit, "folder": folder},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=training.config.workers),
            run_config=RunConfig(storage_path=str(storage), failure_config=FailureConfig(max_failures=RETRIES)),
        ).fit()
    except BaseException as error:
        failed.append(error)


def _told(error: BaseException) -> Exception:
    """What a worker raised, in this process's terms."""
    causes = [*getattr(error, "worker_failures", {}).values(), error]
    for cause in causes:
        while cause is not None:
            inner = getattr(cause, "cause", None) or cause.__cause__
            if isinstance(cause, InputError | NonFiniteError):
                return cause
            cause = inner
    return InputError(f"the training on the cluster failed: {first_line(causes[0])}")


def _history(folder: Path) -> list[EpochRecord]:
    with suppress(OSError):
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines(keepends=True)
        return [EpochRecord(**json.loads(line)) for line in lines if line.endswith("\n")]
    return []


def work(settings: dict[str, Any]) -> None:
    """One process of the training."""
    from ray.train import get_context

    rank, workers = get_context().get_world_rank(), get_context().get_world_size()
    config: TrainConfig = settings["config"]
    features: FeatureFile = settings["features"]
    folder: Path = settings["folder"]
    with tempfile.TemporaryDirectory() as own, one_thread(), np.errstate(over="ignore", invalid="ignore"):
        source = settings["circuit"].source if settings["circuit"] else None
        head = new_head(config, features.width, len(features.provenance.classes), source)
        training = SharedTraining(config, head, features, folder if rank == 0 else Path(own))
        training.restore(Checkpoint.load(folder / CHECKPOINT))
        # All have read it before the first one writes the next.
        torch.distributed.barrier()
        assert training.order is not None
        rows = streamed(features, training.order, range(training.order.parts)[rank::workers])
        for _ in training.epochs(rows):
            pass


class SharedTraining(Training):
    """A training whose steps are shared by all processes of torch's process group."""

    def one_pass(self, epoch: int, train: Source) -> tuple[float, float]:
        """Learn from every sample once: this process from its share of each step."""
        from torch.nn.parallel import DistributedDataParallel

        assert isinstance(train, StreamedSamples), "workers share rows that are streamed"
        shared = DistributedDataParallel(self.head)
        tally = Tally(train.scored_at_once)
        seed, batch = self.config.seed, self.config.batch
        batches = train.batches(seed, epoch, batch)
        for rows in train.steps(seed, epoch, batch):
            # A process whose part has ended takes part with a row that counts nothing.
            nothing = torch.zeros(1, self.features.width), torch.zeros(0, dtype=torch.int64)
            features, labels = next(batches, nothing)
            self.head.zero_grad()
            logits = shared(features)[: len(labels)]
            total = rows if self.class_weights is None else self._sum(self.class_weights[labels].sum())
            # The processes' gradients are averaged, which makes this the mean over all rows of the step.
            loss = functional.cross_entropy(logits, labels, self.class_weights, reduction="sum")
            (loss * (torch.distributed.get_world_size() / total)).backward()
            self.optimizer.lr = learning_rate(self.config, epoch, self.optimizer.steps)
            self.optimizer.step()
            if len(labels):
                tally.add(logits.detach(), labels)
        return self.score(tally)

    def score(self, tally: Tally) -> tuple[float, float]:
        """Loss and accuracy of all processes' samples."""
        tally.count()
        loss, right, rows = self._sum(torch.tensor([tally.loss, tally.right, tally.rows], dtype=torch.float64)).tolist()
        return loss / rows, right / rows

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' values."""
        torch.distributed.all_reduce(values)
        return values
