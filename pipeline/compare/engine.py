"""Where the blocks of a comparison run: in processes of this machine, or as tasks of a Ray cluster.

In: the blocks to do. Out: each block with its record, as they are done. A block's record is the same bits either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from features.errors import InputError
from pipeline.compare.blocks import Block, run_block
from pipeline.compare.folds import Pool
from pipeline.config import CompareConfig

RETRIES = 3
Done = tuple[Block, dict[str, Any]]


def run_blocks(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    """Run all blocks on the engine that ``config`` names, in no certain order.

    Raises:
        InputError: If Ray is wanted and can't be had.
        NonFiniteError: If training diverges.
    """
    return (_with_ray if config.engine == "ray" else _locally)(config, blocks, pool)


def _locally(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    from joblib import Parallel, cpu_count, delayed, parallel_config

    workers = min(config.workers or cpu_count(), max(1, len(blocks)))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        # No memory maps: a run that is killed would leave them on the disk.
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, max_nbytes=None)
        yield from parallel(delayed(_named)(config, block, pool) for block in blocks)


def _named(config: CompareConfig, block: Block, pool: Pool) -> Done:
    return block, run_block(config, block, pool)


def _with_ray(config: CompareConfig, blocks: Sequence[Block], pool: Pool) -> Iterator[Done]:
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}): pip install 'quantum-transfer[ray]'") from error

    import logging

    packages = [str(Path(__file__).parents[2] / name) for name in ("features", "pipeline")]
    # Workers on other machines have the libraries, but not this checkout.
    environment = {"py_modules": packages, "env_vars": {"OMP_NUM_THREADS": "1"}}
    place = {"address": config.address} if config.address else {"num_cpus": config.workers or None}
    try:
        ray.init(
            **place, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment
        )
    except (ConnectionError, ValueError) as error:
        raise InputError(f"no Ray cluster answers at --address {config.address}: {error}") from error
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(run_block)
        shared = ray.put(pool)
        pending = {task.remote(config, block, shared): block for block in blocks}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            yield pending.pop(done), ray.get(done)
    finally:
        ray.shutdown()
