"""Where the blocks of a comparison run: in processes of this machine, or as tasks of a Ray cluster.

In: the blocks to do. Out: each block with its result, as they are done. A result is the same bits either way.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from features.engines.ray_cluster import connect
from pipeline.experiments.compare.blocks import Block, run_block
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.folds import Pool
from pipeline.experiments.compare.record import BlockResult

RETRIES = 3
Done = tuple[Block, BlockResult]


def run_blocks(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    """Run all blocks on the engine that ``config`` names, in no certain order.

    Raises:
        InputError: If Ray is wanted and can't be had.
        NonFiniteError: If training diverges.
    """
    return (_with_ray if config.engine == "ray" else _locally)(config, blocks, pool)


def _locally(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    from joblib import Parallel, cpu_count, delayed, parallel_config

    # At Ctrl-C joblib advises how to waste less computation time.
    warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
    workers = min(config.workers or cpu_count(), max(1, len(blocks)))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        # No memory maps: a run that is killed would leave them on the disk.
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, max_nbytes=None)
        yield from parallel(delayed(_in_worker)(os.getpid(), config, block, pool) for block in blocks)


def _in_worker(parent: int, config: CompareConfig, block: Block, pool: Pool) -> Done:
    if os.getpid() != parent:
        _end_with(parent)
    return block, run_block(config, block, pool)


@cache
def _end_with(parent: int) -> None:
    """Let this process end when its parent has: of a parent that was killed, joblib's workers would train on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _with_ray(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    packages = [str(Path(__file__).parents[3] / name) for name in ("features", "pipeline")]
    # Workers on other machines have the libraries, but not this checkout.
    environment = {"py_modules": packages, "env_vars": {"OMP_NUM_THREADS": "1"}}
    here = {} if config.address else {"num_cpus": config.workers or None}
    ray = connect(config.address, runtime_env=environment, **here)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(run_block)
        shared = ray.put(pool)
        pending = {task.remote(config, block, shared): block for block in blocks}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            yield pending.pop(done), ray.get(done)
    finally:
        ray.shutdown()
