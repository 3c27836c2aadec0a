"""features.provenance: equal things have equal fingerprints, different things different ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from features.util.provenance import LIBRARIES, canonical_json, file_sha256, tensors_sha256, versions


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_the_json_is_compact_and_readable() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ä"}) == '{"a":"ä","b":[1,2.5]}'


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        canonical_json(float("nan"))


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_tensors_are_known_by_name_dtype_shape_and_values() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.arange(6.0).reshape(3, 2).T.reshape(3, 2).T}
    same["a"] = torch.arange(6.0).reshape(2, 3).T.contiguous().T  # other strides, same values
    others = [
        base | {"a": base["a"].reshape(3, 2)},
        base | {"a": base["a"].double()},
        base | {"a": base["a"] + torch.tensor([[0, 0, 0], [0, 0, 1e-6]])},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    assert tensors_sha256(same) == tensors_sha256(base)
    prints = {tensors_sha256(other) for other in others}
    assert len(prints) == len(others)
    assert tensors_sha256(base) not in prints


def test_versions_name_every_library() -> None:
    found = versions()
    assert found.keys() == {"python", *LIBRARIES}
    assert found["torch"] == torch.__version__ or found["torch"] == torch.__version__.split("+")[0]
