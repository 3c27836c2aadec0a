"""features.backbone.network: files of weights that are refused, and why; code in them is never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import names_in
from safetensors.torch import save_file
from weights import state_of

from features.backbone.network import DEFAULT, load_backbone
from features.util.errors import InputError


def refusal(weights: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load_backbone(DEFAULT, str(weights))
    return str(caught.value)


def test_neither_file_nor_name() -> None:
    assert refusal("IMAGENET1K_v2") == (
        "IMAGENET1K_v2 is neither a file nor one of torchvision's resnet18 weights (IMAGENET1K_V1); "
        "--weights (make: WEIGHTS=) takes a file or one of these names (did you mean IMAGENET1K_V1?)"
    )
    assert refusal("/no/such/file.pth").endswith("takes a file or one of these names")


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v3_small(weights=None).state_dict(), tmp_path / "mobile.pth")
    first, *listed, last = refusal(tmp_path / "mobile.pth").splitlines()
    count = int(first.removeprefix(f"{tmp_path}/mobile.pth holds no weights of torchvision's resnet18: ").split()[0])
    assert first.endswith(f": {count} tensors differ:")
    assert listed[0] == "  missing: conv1.weight"
    assert listed[-1] == f"  … and {count - 20} more"
    assert last == "Give a state_dict of torchvision's resnet18, or name its own --backbone."


def test_tensors_of_another_shape_are_named(random_weights: Path, tmp_path: Path) -> None:
    state = state_of(random_weights)
    torch.save(state | {"conv1.weight": torch.zeros(64, 1, 7, 7), "extra": torch.zeros(1)}, tmp_path / "grey.pth")
    assert refusal(tmp_path / "grey.pth").splitlines()[:-1] == [
        f"{tmp_path}/grey.pth holds no weights of torchvision's resnet18: 2 tensors differ:",
        "  unexpected: extra",
        "  conv1.weight: shape (64, 1, 7, 7) instead of (64, 3, 7, 7)",
    ]


class Payload:
    """Pickled, it is the command to make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, new_format: bool) -> None:
    trap = tmp_path / "sprung"
    payload = {"conv1.weight": Payload(trap)}
    torch.save(payload, tmp_path / "evil.pth", _use_new_zipfile_serialization=new_format)
    assert refusal(tmp_path / "evil.pth") == (
        f"{tmp_path}/evil.pth holds more than tensors, and code in it is never run; "
        "save the weights alone: torch.save(model.state_dict(), FILE)"
    )
    assert names_in(tmp_path) == ["evil.pth"]
    pickle.loads(pickle.dumps(Payload(trap)))  # the trap works
    assert trap.is_dir()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None), tmp_path / "model.pth")
    assert "holds more than tensors, and code in it is never run" in refusal(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "content",
    [{"state_dict": {"a": torch.zeros(1)}}, [torch.zeros(1)], torch.zeros(1), {0: torch.zeros(1)}],
    ids=["nested", "list", "tensor", "numbered"],
)
def test_tensors_that_are_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert refusal(tmp_path / "other.pth") == (
        f"{tmp_path}/other.pth is no `state_dict` (a flat mapping of names to tensors); save one: "
        "torch.save(model.state_dict(), FILE)"
    )


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 1000, 30_000_000])
def test_damaged_files(random_weights: Path, tmp_path: Path, ending: str, keep: int) -> None:
    file = tmp_path / f"cut{ending}"
    if ending == ".safetensors":
        save_file(state_of(random_weights), tmp_path / "whole.safetensors")
        file.write_bytes((tmp_path / "whole.safetensors").read_bytes()[:keep])
    else:
        file.write_bytes(random_weights.read_bytes()[:keep])
    message = refusal(file)
    assert message.startswith(f"{file} ")
    assert message.endswith("; is it whole?")
    assert "\n" not in message


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter.pth").write_text("Dear Sir or Madam\n" * 100)
    assert refusal(tmp_path / "letter.pth").startswith(f"{tmp_path}/letter.pth ")
