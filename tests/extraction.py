"""What an extraction says: why it refuses, and how its last line ends."""

from __future__ import annotations

import pytest

from features.config import ExtractConfig
from features.extract import make_features
from features.util.errors import InputError


def refusal(config: ExtractConfig) -> str:
    with pytest.raises(InputError) as caught:
        make_features(config)
    return str(caught.value)


def ends_with(text: str, ending: str) -> bool:
    return text.splitlines()[-1].endswith(ending)
