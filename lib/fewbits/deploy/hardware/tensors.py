"""All tensors of a network for one image."""

from collections.abc import Callable, Sequence

import numpy as np

from fewbits.deploy.hardware.job import EngineJob
from fewbits.deploy.integer import IntegerNetwork

Compute = Callable[[EngineJob, np.ndarray], np.ndarray]


def compute_tensors(
    network: IntegerNetwork, images: Sequence[np.ndarray], jobs: dict[int, EngineJob], run_job: Compute
) -> dict[int, np.ndarray]:
    """Compute the outputs of a network, and the tensors that they need.

    Args:
        network: The integer network.
        images: Pixels, integers (height, width, channels), one image per input.
        jobs: Index of a tensor -> the job that makes it; operations make the others.
        run_job: Returns the output codes of a job for its input codes, both (height, width, channels).

    Returns:
        Index of a tensor -> its codes (int64), (height, width, channels).
    """
    made = {
        i: (np.asarray(image).astype(np.int64) - np.asarray(mean)).reshape(network.tensors[i].shape)
        for i, image, mean in zip(network.inputs, images, network.means, strict=True)
    }

    def tensor(number: int) -> np.ndarray:
        if number not in made:
            job, operation = jobs.get(number), network.operations[number - 1]
            made[number] = (
                run_job(job, tensor(job.reads))
                if job
                else operation.compute(*(tensor(i)[None] for i in operation.inputs))[0]
            )
        return made[number]

    for output in network.results:
        tensor(output.tensor)
    return made
