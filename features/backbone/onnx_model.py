"""A network as an ONNX model: one block of bytes that ONNX Runtime runs without torch.

Its format: https://onnx.ai. Needs the libraries of ``pip install '.[fast]'``.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import nn


def to_onnx(network: nn.Module, example: torch.Tensor, outputs: Sequence[str]) -> bytes:
    """A network as an ONNX model for any number of images.

    Args:
        network: In evaluation mode; takes one batch and returns one tensor for each of ``outputs``.
        example: A batch, (B, …); the model's input, named ``pixels``.
        outputs: Names of what comes out.

    Raises:
        Exception: of dozens of kinds, for a layer that the exporter does not know.
    """
    file: Any = io.BytesIO()  # the exporter's annotation knows names of files alone
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _without_fused_attention(), torch.inference_mode():
        # The tracing exporter is deprecated, but takes a third of the time of the newer one, needs no further library,
        # and gives the same model. It warns of sizes fixed by tracing, which the trial with another size would show.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "images"} for name in ("pixels", *outputs)},
        )
    return file.getvalue()


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    # torch's one operator for a whole attention layer has no counterpart in ONNX; the steps that it is made of do.
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
