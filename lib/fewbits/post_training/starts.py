"""A start for training with few bits: kernels and biases that restore the outputs of blocks without labels.

Formats of 2 or 3 bits, set on a trained network, leave so little of its signal that the first labelled steps have
nothing to improve. Reconstruction brings most of the outputs back, and training goes on from there.
"""

from collections.abc import Callable
from typing import Any

from fewbits.backend import ops
from fewbits.data.inputs import Images
from fewbits.post_training.block_reconstruction import STEPS, reconstruct_blocks
from fewbits.quantization.conversion import QuantizedModel

START_IMAGES = 256  # how many training images a trial or a command takes


def reconstructed_start(
    images: Images, steps: int = STEPS, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Callable[[Any, QuantizedModel], None]:
    """Return what `progressive_quantization` calls as `on_stage` to begin its first stage with reconstructed blocks.

    When the formats of the first stage are set, its blocks are reconstructed (`reconstruct_blocks`) to the outputs of
    the float network. It pays where this stage has few bits: with the strategy "all-at-once". A layer without a bias
    takes the kernel alone. Later stages begin with the weights that the stage before has trained.

    Args:
        images: As in `reconstruct_blocks`; training images, of which no labels are used.
        steps: As in `reconstruct_blocks`.
        seed: As in `reconstruct_blocks`.
        progress: As in `reconstruct_blocks`.

    Returns:
        A function of a stage and the network in training.

    Raises:
        InputError: as `reconstruct_blocks`, when the stage begins.

    Example:
        Train a network to 2 bits, from a start that 256 images have reconstructed::

            outcome = progressive_quantization(
                model, (images, labels), Schedule(bits=(2, 2, 2), strategy="all-at-once", epochs=12, edge_bits=8),
                validation=held_out, on_stage=reconstructed_start(images[:256]),
            )
    """
    begun: list[Any] = []

    def enter(stage: Any, network: QuantizedModel) -> None:
        if stage is None or begun:
            return
        begun.append(stage)
        found = reconstruct_blocks(network, images, steps, seed, progress)
        for layer, better in zip(network.quantized_layers, found.quantized_layers, strict=True):
            layer.kernel.assign(ops.convert_to_numpy(better.kernel))
            if layer.bias is not None:
                layer.bias.assign(ops.convert_to_numpy(better.bias))

    return enter
