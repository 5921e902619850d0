"""A network of few bits in one call, from a trained one and some tens of unlabelled images."""

from collections.abc import Callable
from functools import partial

from fewbits.backend import keras
from fewbits.data.inputs import Images, input_arrays
from fewbits.names import LEAST_ERROR
from fewbits.post_training.block_reconstruction import STEPS, reconstruct_blocks
from fewbits.post_training.range_search import search_msbs, share_formats
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layer_summary import NBits

FORMAT_IMAGES = 32  # the first, which set formats and judge MSBs; reconstruction takes all


def quantize_without_labels(
    model: keras.Model,
    images: Images,
    nbits: NBits = (8, 8, 8),
    steps: int = STEPS,
    search: bool = True,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize a trained network as well as this package can without training it on labels.

    Batch normalization is folded. Formats are those of least squared error: one per filter for kernels, unsigned where
    no input or output is negative, and shared by all that an edge joins. Then, unless `search` is False, MSBs are
    searched for (`search_msbs`), and kernels are refitted and trained block by block (`reconstruct_blocks`).

    Args:
        model: A float network, as `quantize_model` takes it.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; 64 to 128 do.
        nbits: Bits of kernel, input and output, or one number for all three; None leaves a value in float.
        steps: Training steps per block. 0 only refits, which takes seconds; training takes minutes for photographs.
        search: Whether to search for MSBs, which takes about three evaluations per edge.
        seed: Draws images and windows.
        progress: Called with what is done now, "search" or "reconstruction", and how many edges or blocks are done, and
            their total.

    Returns:
        The quantized network, whose layers all have a bias and round to nearest.

    Raises:
        InputError: as `quantize_model` and `formats_for`.
    """
    network = quantize_model(canonical(model), fold_batch_normalization=True, rounding="nearest")
    arrays = input_arrays(network, images)
    few = [array[:FORMAT_IMAGES] for array in arrays]
    network.set_formats(formats_for(network, few, nbits, LEAST_ERROR, per_channel=True))
    network = share_formats(network)
    if search:
        network = search_msbs(network, few, _named("search", progress))
    return reconstruct_blocks(network, arrays, steps, seed, _named("reconstruction", progress))


def _named(what: str, progress: Callable[[str, int, int], None] | None) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, what)
