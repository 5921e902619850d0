"""Block reconstruction: the kernels of a block are chosen together, so that its outputs come nearest to those of float.

Each block in turn gets what the quantized blocks before it deliver, and learns to make of it what the float network
makes: through its own activations and with its activations quantized, so that it counts what a ReLU removes and what an
output format clips. It takes unlabelled images, and memory for the inputs and outputs of one block.

Sources: Li et al., 2021 (BRECQ, arXiv 2102.05426), for blocks; Hubara et al., 2020 (arXiv 2006.10518), for kernels that
are trained by a straight-through gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import check_integer
from fewbits.post_training.block_in_training import BlockInTraining, KernelInTraining, StraightThrough
from fewbits.post_training.blocks import Block, find_blocks
from fewbits.post_training.copies import copied
from fewbits.post_training.weight_rounding import can_be_refitted, on_grid, refitted
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.layers import by_filter, kernel_formats, quantized_kernel
from fewbits.quantization.layerwise import LayerwiseRun

STEPS = 100  # per block, by default
BATCH = 16  # images per step
PASS = 64  # images per pass without training


def reconstruct_blocks(
    network: QuantizedModel,
    images: Images,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Return `network` with kernels on the grids of their formats, and biases, that restore the outputs of its blocks.

    Block by block (see `find_blocks`), in the order of the graph, kernels are refitted to the quantized inputs, as
    `refit_kernels` does, then trained together with the biases by a straight-through gradient: each weight is rounded
    in every step, and the squared error of the block's outputs is the loss. Targets are the outputs of the float
    network; no labels are needed. Of the kernels rounded to nearest, the refitted and the trained ones, those with the
    least error on all images stay. Price: none; the device sees other kernels and biases in the same formats.

    Args:
        network: The quantized network, with the weights of the float one.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens.
        steps: Training steps per block, with BATCH images each; 0 only refits.
        seed: Draws images and windows.
        progress: Called after each block with the number of blocks done and their total.

    Returns:
        A new network, whose layers all have a bias.

    Raises:
        InputError: when there are no images, or they do not fit the network.
    """
    return reconstruct(network, images, steps, seed, progress)


def reconstruct(
    network: QuantizedModel,
    images: Images,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
    kind: type[KernelInTraining] = StraightThrough,
    layer_by_layer: bool = False,
    refit: bool = True,
) -> QuantizedModel:
    """Return `network` reconstructed block by block.

    Args:
        network: As in `reconstruct_blocks`.
        images: As in `reconstruct_blocks`.
        steps: As in `reconstruct_blocks`.
        seed: As in `reconstruct_blocks`.
        progress: As in `reconstruct_blocks`.
        kind: How kernels are trained.
        layer_by_layer: As in `find_blocks`.
        refit: Whether training begins with refitted kernels.

    Returns:
        A new network, whose layers all have a bias.
    """
    check_integer("steps", steps, 0)
    arrays = input_arrays(network, images)
    network, plain = copied(network, with_bias=True), dequantize_model(network)
    runs, rng, blocks = _Runs(network, plain, arrays), np.random.default_rng(seed), find_blocks(network, layer_by_layer)
    for done, block in enumerate(blocks, 1):
        layers = [layer for layer in block.layers if kernel_formats(layer)]
        if layers:
            inputs, nearest = [runs.reached.read(x) for x in block.inputs], _weights(layers)
            starts = [ops.convert_to_numpy(layer.kernel) for layer in layers]
            if refit:
                starts = [_refitted(block, layer, inputs, runs, rng) for layer in layers]
            targets = [runs.wanted_at(x) for x in block.outputs]
            task = _Task(block, layers, [_joined(x) for x in inputs], [_joined(y) for y in targets])
            task.choose([nearest, _weights(layers)], starts, kind, steps, rng)
        if progress:
            progress(done, len(blocks))
    return network


class _Runs:
    """The quantized network and the float one on the same images, layer by layer."""

    def __init__(self, network: QuantizedModel, plain: keras.Model, arrays: list[np.ndarray]):
        batches = [[array[i : i + PASS] for array in arrays] for i in range(0, len(arrays[0]), PASS)]
        self.reached, self._wanted = LayerwiseRun(network, batches), LayerwiseRun(plain, batches)
        calls = zip(self.reached.graph.calls, self._wanted.graph.calls, strict=True)
        self._twins = {id(own): twin for a, b in calls for own, twin in zip(a.outputs, b.outputs)}

    def wanted_at(self, tensor: Any) -> list[Any]:
        """Return, for each batch, what the float network has in place of a tensor of the quantized one."""
        return self._wanted.read(self._twins[id(tensor)])


def _refitted(block: Block, layer: Any, inputs: list, runs: _Runs, rng: np.random.Generator) -> np.ndarray:
    """Return the kernel of a layer, refitted to what reaches it if it can be, and give the layer its codes."""
    if not can_be_refitted(layer):
        return ops.convert_to_numpy(layer.kernel)
    [call] = runs.reached.graph.calls_of(layer)
    own = [block.run(batch, call.inputs)[0] for batch in zip(*inputs)]
    kernel = refitted(layer, own, runs.wanted_at(call.inputs[0]), rng)
    layer.kernel.assign(on_grid(layer, kernel))
    return kernel


class _Task:
    """A block, the inputs that reach it, and the outputs that are wanted of it, on all images."""

    def __init__(self, block: Block, layers: list[Any], inputs: list[np.ndarray], targets: list[np.ndarray]):
        self.block, self.layers, self.inputs, self.targets = block, layers, inputs, targets

    def choose(self, known: list, starts: list[np.ndarray], kind: Any, steps: int, rng: np.random.Generator) -> None:
        """Give the layers those weights of the `known` and of trained ones that leave the least error."""
        errors = [self._error(weights) for weights in known]
        if steps:
            known = [*known, self._trained(starts, kind, steps, errors[0], rng)]
            errors.append(self._error(known[-1]))
        self._give(known[int(np.nanargmin(errors))])  # training may end in nan

    def _trained(self, starts: Any, kind: Any, steps: int, unit_of_error: float, rng: np.random.Generator) -> Any:
        formats = [layer.formats for layer in self.layers]
        kernels = [kind(layer, start) for layer, start in zip(self.layers, starts)]
        units = [_unit(layer) for layer in self.layers]
        training = BlockInTraining(self.block, self.layers, kernels, units, unit_of_error, steps)
        for layer, own in zip(self.layers, formats):
            layer.set_formats(*own._replace(kernel=None))
        for step in range(steps):
            batch = rng.choice(len(self.inputs[0]), min(BATCH, len(self.inputs[0])), replace=False)
            training.train(step, [x[batch] for x in self.inputs], [y[batch] for y in self.targets])
        for layer, own in zip(self.layers, formats):
            layer.set_formats(*own)
        return training.weights_found()

    def _error(self, weights: Any) -> float:
        """Return the mean squared error of the outputs with these weights."""
        self._give(weights)
        total = 0.0
        for i in range(0, len(self.inputs[0]), PASS):
            found = self.block.run([ops.convert_to_tensor(x[i : i + PASS]) for x in self.inputs])
            total += sum(float(ops.mean(ops.square(y - t[i : i + PASS]))) * len(y) for y, t in zip(found, self.targets))
        return total / len(self.inputs[0])

    def _give(self, weights: Any) -> None:
        for layer, (kernel, bias) in zip(self.layers, weights):
            layer.kernel.assign(kernel)
            layer.bias.assign(bias)


def _weights(layers: list[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(quantized_kernel(layer, "nearest"), ops.convert_to_numpy(layer.bias)) for layer in layers]


def _unit(layer: Any) -> float:
    """Return about how far the outputs of a layer may be off."""
    fmt = layer.formats.output
    return fmt.step if fmt else float(np.linalg.norm(by_filter(layer, layer.kernel), axis=0).mean()) / BATCH


def _joined(batches: Sequence[Any]) -> np.ndarray:
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])
