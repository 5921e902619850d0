"""The stored answers at each width: whole, and those of the network of floats where bits and rounding hardly matter."""

import json
from pathlib import Path

import numpy as np

from fewbits import data, zoo
from fewbits.deploy import lower
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.quantization import formats_for, quantize_model

STORED = json.loads((Path(__file__).parents[2] / "data/reference/widths.json").read_text())
HITS = {(row["bits"], row["rounding"]): row["hits"] for row in STORED["rows"]}


def test_every_width_and_rounding_is_there_once_and_wide_codes_agree():
    assert HITS.keys() == {(bits, rounding) for bits in range(4, 17) for rounding in INTEGER_ROUNDINGS}
    assert len(HITS) == len(STORED["rows"]) and len({HITS[16, rounding] for rounding in INTEGER_ROUNDINGS}) == 1
    assert all(HITS[4, rounding] < HITS[8, rounding] <= STORED["images"] for rounding in INTEGER_ROUNDINGS)


def test_wide_integers_answer_as_stored_and_as_floats_do():
    digits = data.load("digits", validation=0.25)
    model = zoo.build(STORED["network"], digits.image_shape, 10, weights=STORED["network"])
    network = quantize_model(model, rounding="nearest-up")
    network.set_formats(formats_for(network, digits.arrays("train", 64)[0], nbits=(16,) * 3))
    logits = lower(network, levels=digits.levels).run(digits.test.images)
    right = logits.reshape(len(logits), -1).argmax(1) == digits.test.labels
    assert len(right) == STORED["images"] and right.sum() == HITS[16, "nearest-up"]
    images, labels = digits.arrays("test")
    floats = np.argmax(model.predict(images, verbose=0), 1) == labels
    assert abs(int(floats.sum()) - int(right.sum())) <= 2
