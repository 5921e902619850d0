"""Quantize the published MobileNet 0.25/128 without training: python data/reference/mobilenet.py DATA.

DATA holds imagenet1k and mobilenet. Network and photographs are those of rounding.py; mobilenet.toml names the schemes,
and studies/mobilenet.json keeps the answers. What is there already stays. `make reference` calls it.
"""

import sys
from hashlib import sha256
from pathlib import Path

from rounding import STUDIES, mobilenet

from fewbits.experiment import Scheme, read_grid, run_schemes


def main(folder: Path) -> None:
    """Run the schemes that have no answers yet."""
    task = mobilenet(folder)
    schemes = [s for grid in read_grid(Path(__file__).with_suffix(".toml"), Scheme) for s in grid.trials]
    digest = sha256(b"".join(a.tobytes() for a in task[1:])).hexdigest()
    study = run_schemes(task.model, schemes, task.calibration, task[2:], STUDIES / "mobilenet.json", digest)
    print(f"float {study.float}")
    for scheme in schemes:
        print(f"{study.under_float(scheme).mean:6.3f} under float  {scheme.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
