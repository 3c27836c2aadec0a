"""The page of public names says what their docstrings say."""

from __future__ import annotations

from api_page import PAGE, api_page

import features
import pipeline


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == api_page(), "make it again: make api"


def test_every_public_name_and_its_arguments_are_on_it():
    page = api_page()
    for name in (*features.__all__, *pipeline.__all__):
        assert f"### `{name}`" in page
    assert "- `n_qubits`: Wires of the circuit" in page
    assert "#### `QuantumHeadClassifier.partial_fit`" in page
