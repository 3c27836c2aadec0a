import pytest
from conftest import child

IMPORTS = """
import sys
import pipeline.inference.evaluation, pipeline.inference.export, features.extract
print("torch._dynamo" in sys.modules)
"""
ALIGNED = """
import sys
import torch
{first}
from torchvision.ops import roi_align
maps = torch.arange(64.0).reshape(1, 1, 8, 8).requires_grad_()
aligned = roi_align(maps, [torch.tensor([[1.0, 1.0, 6.0, 6.0]])], output_size=2)
aligned.sum().backward()
print(aligned.flatten().tolist(), maps.grad.abs().sum().item())
print([sys.modules["torchvision.ops.roi_align"].is_compile_supported(device) for device in ("cpu", "cuda", "xpu")])
"""


def test_nothing_of_ours_imports_torchs_compiler():
    assert child(IMPORTS).stdout.split() == ["False"]


@pytest.mark.slow
def test_the_operator_that_asks_for_it_works_as_ever():
    ours, plain = (child(ALIGNED.format(first=first)) for first in ("import features.backbone.vision", ""))
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == plain.stdout


@pytest.mark.slow
def test_a_compiler_or_a_torchvision_that_is_there_already_is_left_alone():
    code = (
        "import {0}, sys\nbefore = sys.modules['{0}']\n"
        "import features.backbone.vision\nprint(sys.modules['{0}'] is before)"
    )
    for first in ("torch._dynamo.utils", "torchvision"):
        assert child(code.format(first)).stdout.split() == ["True"]


@pytest.mark.slow
def test_an_unknown_version_of_torchvision_imports_what_it_likes():
    code = (
        "from importlib import metadata\nknown = metadata.version\n"
        "metadata.version = lambda name: '0.30.0' if name == 'torchvision' else known(name)\n"
        "import features.backbone.vision, sys\nprint('torch._dynamo' in sys.modules)"
    )
    assert child(code).stdout.split() == ["True"]
