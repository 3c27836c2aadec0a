from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline.util.records import from_record, to_record


@dataclass(frozen=True)
class Inner:
    value: float
    words: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    path: Path
    kind: Literal["a", "b"]
    inner: Inner | None
    many: dict[str, list[Inner]] = field(default_factory=dict)
    pair: tuple[int, ...] = ()
    anything: Any = None


WHOLE = Outer(path=Path("x/y"), kind="b", inner=None, many={"k": [Inner(0.5), Inner(1.0, "w")]}, pair=(1, 2))
RECORD = {
    "path": "x/y",
    "kind": "b",
    "inner": None,
    "many": {"k": [{"value": 0.5, "words": None}, {"value": 1.0, "words": "w"}]},
    "pair": [1, 2],
    "anything": None,
}


def test_a_record_comes_back_as_it_was():
    assert to_record(WHOLE) == RECORD
    assert from_record(Outer, RECORD | {"unknown": 1}) == WHOLE
    assert from_record(Inner, {"value": 2}) == Inner(2.0)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"kind": "c"}, TypeError, "Outer.kind is 'c', none of a, b"),
        ({"many": {"k": [{}]}}, KeyError, "Inner has no value"),
        ({"pair": ["1"]}, TypeError, "Outer.pair is '1'"),
        ({"inner": {"value": True}}, TypeError, "Outer.inner.value is True"),
    ],
)
def test_what_is_not_as_it_was_written_is_named(changed, kind, message):
    with pytest.raises(kind, match=message):
        from_record(Outer, RECORD | changed)
