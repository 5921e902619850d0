"""Trials are run here, in processes of this machine or on a Dask cluster; whoever calls `run` writes the store."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from fewbits import training, zoo
from fewbits.backend import keras
from fewbits.data import Split
from fewbits.data.augmentation import shift_and_flip, shift_flip_and_light
from fewbits.deploy.identity import compare, compare_program, programs
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError, check_integers
from fewbits.experiment import provenance
from fewbits.experiment.fields import FLOAT, naming
from fewbits.experiment.store import Record, Results, Store
from fewbits.experiment.trial import LIGHT, PRUNE, Checker, Trial, begin, build_network, load_images, pruning_before
from fewbits.io.weights import load_weights, save_weights
from fewbits.pruning import Plan, prune
from fewbits.training import schedules
from fewbits.training.transfer import freeze_levels, kernels, moved, spread
from fewbits.zoo.trained import find_weights

DRAWN_WITH = 2017  # the seed of the choice of training images
PASSED_ON = (
    "bits",
    "strategy",
    "epochs",
    "order",
    "relax",
    "edge_bits",
    "percentile",
    "per_layer",
    "per_channel",
    "recalibrate",
    "rounding",
    "gradient",
    "optimizer",
    "learning_rate",
    "decay",
    "seed",
    "batch_size",
)
AUGMENTATIONS = {False: None, True: shift_and_flip, LIGHT: shift_flip_and_light}
# The last quantized network of this process, by what is the same in all that can take its place. Its graphs take long
# to make, and TensorFlow never forgets those of another.
_COMPILED = {}
_ALONE = threading.Lock()  # a process runs one trial at a time, whatever the threads of its Dask worker
PATIENCE = 60  # seconds to wait for the first worker of a cluster
DASK = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # weights travel with their trial
    "distributed.comm.timeouts.connect": "60s",  # workers are busy while they import TensorFlow
}


class Outcome(NamedTuple):
    """What became of a trial: its record or, in one sentence, the error that kept it from having one."""

    trial: Trial
    record: Record | None
    error: str | None = None


class Advance(NamedTuple):
    """How far a run is: what `progress` is told after each trial. seconds_left is an estimate for the rest."""

    outcome: Outcome
    done: int
    total: int
    seconds_left: float


def run_trials(
    trials: Iterable[Trial],
    store: Store | Path | str,
    *,
    processes: int = 1,
    scheduler: str | None = None,
    progress: Callable[[Advance], None] | None = None,
) -> list[Outcome]:
    """Run `trials`, and those they start from, but for what is in `store`; return their outcomes, in order.

    processes: 1 for this process; more are started with Dask, each with its share of TensorFlow's threads (a script
    that asks for them needs `if __name__ == "__main__":`). scheduler: the address of a Dask cluster instead, whose
    workers have fewbits and the data, but need not see the store. Each record is kept as it arrives. Stopped at any
    moment, even killed, the same call goes on from the epoch it had reached (on a cluster that does not see the store,
    from the trial). Results are the same to the bit, whatever the number of processes, where the number of threads
    is: fix it with the environment variable TF_NUM_INTRAOP_THREADS.

    A trial that fails does not stop the others. Raises InputError, before anything is run, on trials that cannot be
    run, a damaged record, and a scheduler that does not answer.
    """
    trials = list(trials)
    check_integers(processes=(processes, 1))
    if scheduler is not None and processes != 1:
        raise InputError("give processes or a scheduler, not both; a cluster has its own processes")
    store = store if isinstance(store, Store) else Store(store)
    outcomes = {t.key: Outcome(t, record) for t in trials if (record := store.load(t))}
    left, check = {}, Checker()
    for number, trial in enumerate(trials, 1):
        if trial.key not in outcomes:
            with naming(f"trial {number}: "):
                check(trial)
            left[trial.key] = trial
    for trial in list(left.values()):
        left |= {start.key: start for start in _missing_starts(trial, store)}
    clock = _Clock(progress, len(outcomes), len(outcomes) + len(left))

    def finish(outcome):
        outcomes[outcome.trial.key] = outcome
        clock.finished(outcome)

    with _workers(processes, scheduler) if left else nullcontext() as attempts:
        for wave in _waves(left):
            ready = []
            for trial in wave:
                start = outcomes.get(trial.start.key) if isinstance(trial.start, Trial) else None
                if start and start.error:
                    finish(Outcome(trial, None, f"its start, {trial.start.name}, failed: {start.error}"))
                else:
                    ready.append(trial)
            for trial, result in attempts(_task(trial, store) for trial in ready) if ready else ():
                if isinstance(result, str):
                    finish(Outcome(trial, None, result))
                else:
                    store.save(*result)
                    finish(Outcome(trial, result[0]))
    return [outcomes[trial.key] for trial in trials]


def _missing_starts(trial: Trial, store: Store) -> Iterator[Trial]:
    """Yield the trial that `trial` starts from, the one that it starts from, and so on, up to weights that are kept."""
    while isinstance(trial.start, Trial) and not store.weights(trial.start).exists():
        trial = trial.start
        yield trial


def _waves(left: dict[str, Trial]) -> list[list[Trial]]:
    """Return the trials of `left`, key -> trial, in waves: each in the one behind that of its start."""

    def place(trial):
        start = left.get(trial.start.key) if isinstance(trial.start, Trial) else None
        return 0 if start is None else 1 + place(start)

    waves = {}
    for trial in left.values():
        waves.setdefault(place(trial), []).append(trial)
    return [waves[i] for i in sorted(waves)]


def execute(trial: Trial, start: bytes | None = None, checkpoint: Path | None = None) -> tuple[Record, bytes | None]:
    """Run `trial`; return its record and, if it is float, the weights of its network, as `save_weights` packs them.

    start: the weights that the trial starts from, packed so. checkpoint: a file that is replaced after each
    epoch; where it exists, the trial goes on from it.
    """
    began = time.monotonic()
    dataset = load_images(trial.data, trial.size, trial.fold)
    splits = {"train": _drawn(dataset.train, trial.images), "validation": dataset.validation, "test": dataset.test}
    data = {name: (dataset.scaled(split), split.labels) for name, split in splits.items()}
    options = {
        "validation": data["validation"],
        "checkpoint": checkpoint,
        "resume": checkpoint is not None,
        "augment": AUGMENTATIONS[trial.augment],
    }
    with _drawing_from(trial.seed):
        model = build_network(trial.network, dataset.image_shape, len(dataset.classes), trial.width)
        if trial.start is not None:
            with _file(start) as path, naming("start: "):
                model = begin(trial, model, path)
        weights, float_test, history, stages, change = None, None, [], [], {}
        if trial.strategy == FLOAT:
            before = kernels(model)
            history = _trained(model, data["train"], trial, options)
            weights = _packed(model)
            if trial.start is not None:
                after = kernels(model)
                change = {"moved": moved(before, after), "spread": spread(after)}
        elif trial.strategy == PRUNE:
            float_test = _tally(model, data["test"], trial)
            result = prune(
                model, data["train"], _plan(trial), also=lambda m: {"test": _tally(m, data["test"], trial)}, **options
            )
            model, change = result.model, {"pruning": result.steps, "pruned": result.stopped}
            weights = _packed(model)
        else:
            float_test = _tally(model, data["test"], trial)
            fields = {name: getattr(trial, name) for name in PASSED_ON}
            alike = trial.network, trial.data, trial.width, trial.size, trial.gradient, pruning_before(trial)
            reuse = _COMPILED.pop(alike, None)
            _COMPILED.clear()
            model, stages, history, _ = schedules.progressive_quantization(
                model, data["train"], levels=zoo.levels(model), reuse=reuse, **fields, **options
            )
            _COMPILED[alike] = model
            change = {"identity": _identity(model, dataset) if trial.integers else None}
        results = Results(
            test=_tally(model, data["test"], trial),
            validation=_tally(model, data["validation"], trial),
            float_test=float_test,
            parameters=model.count_params(),
            history=history,
            stages=[(stage.name, stage.epochs) for stage in stages],
            **change,
        )
    source = provenance.describe(dataset.checksum, start, seconds=time.monotonic() - began)
    return Record(trial=trial, results=results, provenance=source), weights


@contextmanager
def _drawing_from(seed) -> Iterator[None]:
    """Have Keras draw the seeds of new layers from `seed` alone; its own source, Python's `random`, is Dask's too."""
    with _ALONE:
        module = keras.src.random.seed_generator
        shared, module.python_random = module.python_random, random.Random(seed)
        try:
            yield
        finally:
            module.python_random = shared


def _drawn(split, n) -> Split:
    """Return `n` images of `split`, or all, in the proportions of its classes; more hold those that fewer do."""
    if n is None:
        return split
    rng, place = np.random.default_rng(DRAWN_WITH), np.empty(len(split))
    for label in np.unique(split.labels):
        members = rng.permutation(np.flatnonzero(split.labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    numbers = np.sort(np.argsort(place, kind="stable")[:n])
    return Split(split.images[numbers], split.labels[numbers])


def _trained(model, data, trial, options) -> list[dict]:
    rate = training.decaying_rate(trial.learning_rate, trial.decay, trial.epochs, len(data[1]), trial.batch_size)
    if trial.freeze:
        freeze_levels(model, trial.transfer)
    training.prepare(model, trial.optimizer, rate, weight_decay=trial.weight_decay)
    return training.train(model, data, epochs=trial.epochs, batch_size=trial.batch_size, seed=trial.seed, **options)


def _identity(model, dataset) -> dict[str, tuple[int, int]]:
    network, images = lower(model, dataset.levels), dataset.test.images
    layers = compare(model, network, images).values()
    found = {"NumPy": (sum(layer.codes for layer in layers), sum(layer.different for layer in layers))}
    codes = network.run(images)
    for name, program in programs(network).items():
        found[name] = compare_program(codes, program, images)[:2]
    return found


def _plan(trial) -> Plan:
    fields = ("ratio", "per_step", "criterion", "optimizer", "learning_rate", "batch_size", "seed")
    return Plan(images=trial.train_images, **{name: getattr(trial, name) for name in fields})


def _tally(model, data, trial) -> dict:
    return training.evaluate(model, data, trial.batch_size)._asdict()  # in batches for which it is compiled already


def _packed(model) -> bytes:
    """Return the weights of `model`, and give them to it as they are packed: what is measured is what is kept."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        save_weights(model, path)
        load_weights(model, path)
        return path.read_bytes()


@contextmanager
def _file(content: bytes) -> Iterator[Path]:
    """Put packed weights into a file for a while."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        path.write_bytes(content)
        yield path


class _Clock:
    """Tells `progress` how far a run is, and estimates how long it will still take."""

    def __init__(self, progress, kept, total):
        self.progress, self.kept, self.done, self.total = progress, kept, kept, total
        self.start = time.monotonic()

    def finished(self, outcome):
        self.done += 1
        if self.progress:
            seconds = (time.monotonic() - self.start) / (self.done - self.kept) * (self.total - self.done)
            self.progress(Advance(outcome, self.done, self.total, seconds))


# Workers


def _task(trial, store):
    """Return the arguments of `_attempt`: all that a worker elsewhere needs."""
    start = None
    if trial.start:
        path = store.weights(trial.start) if isinstance(trial.start, Trial) else find_weights(trial.start)
        start = path.read_bytes()
    return trial, start, store.checkpoint(trial).absolute()


def _attempt(trial, start, checkpoint):
    """Return what `execute` does or, as a string, the error it raised."""
    try:
        return execute(trial, start, checkpoint if checkpoint.parent.is_dir() else None)
    except InputError as error:
        return str(error)
    except Exception as error:  # of whatever is below; the other trials are to go on
        return _told(error)


def _told(error) -> str:
    first = str(error).strip().split("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextmanager
def _workers(processes, scheduler) -> Iterator[Callable]:
    """Yield a function that takes tasks and yields each one's trial and result, as they are done."""
    if processes == 1 and scheduler is None:
        yield _here
        return
    try:
        import dask
        from dask.distributed import Client
    except ImportError:
        raise InputError(
            "several processes, or a scheduler, need Dask; install it with `pip install 'fewbits[cluster]'`"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(DASK))
        address = scheduler or stack.enter_context(_local_cluster(processes))
        try:
            client = stack.enter_context(Client(address, timeout=PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"no Dask cluster with workers answers at {scheduler} ({error})") from None
        yield partial(_there, client)


def _local_cluster(processes):
    from dask.distributed import LocalCluster

    threads = os.environ.get("TF_NUM_INTRAOP_THREADS") or max(1, os.cpu_count() // processes)
    try:
        return LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            memory_limit=None,  # a worker above Dask's limit would be paused, and the sweep stand still
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            env={"TF_NUM_INTRAOP_THREADS": str(threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
            preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # Ctrl-C is for who called `run`
        )
    except RuntimeError as error:
        raise InputError(
            "the processes did not start; a script that asks for them needs `if __name__ == '__main__':`"
        ) from error


def _here(tasks):
    for trial, *rest in tasks:
        yield trial, _attempt(trial, *rest)


def _there(client, tasks):
    from dask.distributed import KilledWorker, as_completed

    waiting, trials, done, places = iter(tasks), {}, as_completed(loop=client.loop), 1

    def fill():
        # No more than there are workers: all tasks at a worker that dies take the blame, and too much blame fails them.
        nonlocal places
        try:
            places = max(places, len(client.nthreads()))
        except OSError as error:
            raise InputError(
                f"the Dask scheduler is gone ({error}); run the same again, what is finished is kept"
            ) from None
        for task in islice(waiting, places - len(trials)):
            future = client.submit(_attempt, *task, pure=False)
            trials[future] = task[0]
            done.add(future)

    fill()
    for future in done:
        try:
            result = future.result()
        except KilledWorker as error:
            result = f"{error.allowed_failures + 1} workers died while they ran it (KilledWorker); memory may be short"
        except Exception as error:  # what went wrong between the processes; Dask's errors have no common class
            result = _told(error)
        trial = trials.pop(future)
        future.release()  # or Dask would run it again when its worker dies later
        yield trial, result
        fill()
