"""Right answers in integers of 4 to 16 bits: python data/reference/widths.py writes widths.json, in about a minute.

The SqueezeNet for digits has kernels, inputs and outputs of the same bits. Kernels are rounded to nearest before the
network runs; the rounding is that of the sums, which hardware does. 64 training images set the formats.
"""

import time
from pathlib import Path

from fewbits import data, zoo
from fewbits.deploy import lower
from fewbits.experiment import provenance
from fewbits.io.files import write_rows
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.post_training import round_kernels
from fewbits.quantization import formats_for_each, quantize_model

ANSWERS = Path(__file__).with_name("widths.json")
NETWORK, BITS = "squeezenet_digits", range(4, 17)


def main() -> None:
    """Count the right answers of every width and rounding, and write them."""
    began, rows = time.monotonic(), []
    digits = data.load("digits", validation=0.25)
    images = digits.arrays("train", 64)[0]
    model = zoo.build(NETWORK, digits.image_shape, 10, weights=NETWORK)
    every = {bits: (bits,) * 3 for bits in BITS}
    formats = formats_for_each(model, images, list(every.values()))
    for rounding in INTEGER_ROUNDINGS:
        network = quantize_model(model, rounding=rounding)
        for bits, nbits in every.items():
            network.set_formats(formats[nbits])
            logits = lower(round_kernels(network), levels=digits.levels).run(digits.test.images)
            hits = int((logits.reshape(len(logits), -1).argmax(1) == digits.test.labels).sum())
            rows.append({"bits": bits, "rounding": rounding, "hits": hits})
        print(rounding, [row["hits"] for row in rows[-len(every) :]], flush=True)
    run = provenance.describe(digits.checksum, None, time.monotonic() - began)
    head = {"network": NETWORK, "images": len(digits.test.labels), "run": run}
    write_rows(ANSWERS, head, rows)


if __name__ == "__main__":
    main()
