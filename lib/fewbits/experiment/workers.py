"""Where trials run: in this process, in several local processes, or on a Dask cluster."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from fewbits.errors import InputError, needs_extra
from fewbits.experiment.store import Record
from fewbits.experiment.strategies import run_trial
from fewbits.experiment.trial import Trial

PATIENCE = 60  # seconds to wait for the first worker of a cluster
DASK = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # weights travel with their trial
    "distributed.comm.timeouts.connect": "60s",  # workers are busy while they import TensorFlow
}

Task = tuple[Trial, bytes | None, Path]  # a trial, the weights it starts from, its checkpoint: all that a worker needs
Finished = tuple[Record, bytes | None]  # as `run_trial` returns it
Run = Callable[[Iterable[Task]], Iterator[tuple[Trial, Finished | str]]]


@contextmanager
def open_workers(processes: int, scheduler: str | None) -> Iterator[Run]:
    """Start workers, or connect to them, for the time of a `with` block.

    Args:
        processes: How many processes to start on this machine; 1 runs the trials in this process.
        scheduler: The address of a Dask cluster to use instead.

    Yields:
        A function that takes tasks and yields, for each as it is done, its trial and what `run_trial` returned or, as
        a string, the error that it raised.

    Raises:
        InputError: when Dask is not installed, the cluster does not answer, or the processes do not start.
    """
    if processes == 1 and scheduler is None:
        yield _here
        return
    with needs_extra("cluster", "several processes or a scheduler"):
        import dask
        from dask.distributed import Client
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(DASK))
        address = scheduler or stack.enter_context(_local_cluster(processes))
        try:
            client = stack.enter_context(Client(address, timeout=PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"no Dask cluster with workers answers at {scheduler} ({error})") from None
        yield partial(_there, client)


def _local_cluster(processes: int) -> Any:
    from dask.distributed import LocalCluster

    threads = os.environ.get("TF_NUM_INTRAOP_THREADS") or max(1, (os.cpu_count() or 1) // processes)
    try:
        return LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            memory_limit=None,  # Dask would pause a worker above its limit, and the run would stand still
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            env={"TF_NUM_INTRAOP_THREADS": str(threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
            preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # Ctrl-C is for the main process
        )
    except RuntimeError as error:
        raise InputError(
            "the processes did not start; a script that asks for them needs `if __name__ == '__main__':`"
        ) from error


def _here(tasks: Iterable[Task]) -> Iterator[tuple[Trial, Finished | str]]:
    for task in tasks:
        yield task[0], _attempt(*task)


def _there(client: Any, tasks: Iterable[Task]) -> Iterator[tuple[Trial, Finished | str]]:
    from dask.distributed import KilledWorker, as_completed

    waiting, done, places = iter(tasks), as_completed(loop=client.loop), 1
    trials: dict[Any, Trial] = {}

    def fill() -> None:
        # No more tasks than workers: Dask blames all tasks of a worker that dies, and fails those blamed too often.
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
            result = _sentence_of(error)
        trial = trials.pop(future)
        future.release()  # or Dask would run it again if its worker dies later
        yield trial, result
        fill()


def _attempt(trial: Trial, start: bytes | None, checkpoint: Path) -> Finished | str:
    """Return what `run_trial` returns or, as a string, the error it raises; workers may not see the store's folder."""
    try:
        return run_trial(trial, start, checkpoint if checkpoint.parent.is_dir() else None)
    except InputError as error:
        return str(error)
    except Exception as error:  # of any library below; the other trials go on
        return _sentence_of(error)


def _sentence_of(error: Exception) -> str:
    first = str(error).strip().split("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
