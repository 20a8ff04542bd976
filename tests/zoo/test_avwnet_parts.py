"""AVWnet's configurations: JSON and back, named sizes, and what is refused."""

import json
from typing import Any

import pytest

from neuralpaint.zoo.avwnet import AvwnetConfig, LipReaderConfig
from tests.zoo.talking_models import CONFIG as TINY

READER = TINY.reader


def test_configuration_as_json() -> None:
    config = AvwnetConfig.of("small", reader=LipReaderConfig.of("small", ["a", "b"]), nd=8)
    assert AvwnetConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.ni == 32
    assert config.nd == 8
    assert AvwnetConfig.of("thesis", reader=READER).ni == 128


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"ni": 6}, "ni must be a multiple of 4"),
        ({"ni": 0}, "ni must be an integer"),
        ({"ni": 10**9}, "ni must be an integer"),
        ({"nd": 2.0}, "nd must be an integer"),
        ({"audio": True}, "audio must be an integer"),
        ({"residual": 1}, "residual must be true or false"),
        ({"depth": 3}, "unknown field 'depth' in the configuration of an AVWnet"),
        ({"landmarks": 3}, "landmarks must be an object"),
        ({"landmarks": {"layers": 9}}, "layers must be an integer"),
        ({"landmarks": {"depth": 1}}, "unknown field 'depth' in the configuration of a landmark"),
        ({"reader": {"words": ["a", "a"]}}, "words must not repeat"),
        ({"reader": {"words": ["a"]}}, "words must be 2 to"),
        ({"reader": {"words": "ab"}}, "words must be 2 to"),
        ({"reader": {"words": ["a", 2]}}, "words must be short texts"),
        ({"reader": {"words": ["a", "b"], "blocks": [1, 1, 1]}}, "blocks must be four"),
        ({"reader": {"words": ["a", "b"], "blocks": [1, 1, 1, 99]}}, "blocks must be four"),
        ({"reader": {"words": ["a", "b"], "width": 10**6}}, "width must be an integer"),
    ],
)
def test_bad_configurations(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AvwnetConfig.from_json({**TINY.to_json(), **values})


def test_what_a_configuration_must_have() -> None:
    with pytest.raises(ValueError, match="reader is missing"):
        AvwnetConfig.from_json({"ni": 4})
    with pytest.raises(ValueError, match="thesis or small"):
        AvwnetConfig.of("huge", reader=READER)
    with pytest.raises(ValueError, match="thesis or small"):
        LipReaderConfig.of("huge", ["a", "b"])
