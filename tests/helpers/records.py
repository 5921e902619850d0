"""Records of trials that nobody ran."""

from fewbits.experiment import Record, Results, Tally, Trial

FIELDS = {"network": "lenet", "data": "digits", "epochs": 1}
PROVENANCE = {"seconds": 10.0, "date": "2026-01-01", "hardware": {"threads": 1, "gpu": None}, "commit": None}


def record(hits, n=100, float_hits=None, provenance=None, **fields):
    """Return a record of a trial of these fields with this many hits on `n` test images."""
    tally = {"n": n, "loss": 0.5, "hits_top5": None}
    floats = None if float_hits is None else Tally(hits=float_hits, **tally)
    test = Tally(hits=hits, **tally)
    results = Results(test=test, validation=test, float_test=floats, parameters=7, history=[], stages=[])
    return Record(trial=Trial(**FIELDS | fields), results=results, provenance=PROVENANCE | (provenance or {}))


def quantized(hits, float_hits=90, **fields):
    """Return a record of a quantized trial."""
    start = {"epochs": 1, "seed": fields.get("seed", 0)}
    return record(hits, float_hits=float_hits, **{"strategy": "train", "bits": (4, None, 8), "start": start, **fields})
