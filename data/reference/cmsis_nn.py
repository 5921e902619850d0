"""C that computes an integer network with the kernels of CMSIS-NN, to compare its instructions with those of our C.

Convolutions and dense layers that are followed by a shift, and max-pooling, are calls of CMSIS-NN. With single
rounding, a multiplier of 1/2 and a shift of 1 - k, it divides by 2**k and rounds half up: exactly what `nearest-up`
does. What else a network needs (shifts between layers, borders, joins, sums) is a loop. Codes that need no sign are
stored less 128. devices.py compares the codes.
"""

import re
import shutil
from pathlib import Path

import numpy as np

from fewbits.deploy import operations, write_c
from fewbits.deploy.c import identifier
from fewbits.deploy.integer import IntegerNetwork

KERNELS = ("Convolution", "FullyConnected", "Pooling", "NNSupport")
OTHERS = re.compile("_f32|_f16|lstm|svdf|_s4")  # sources that no network here needs
STRING = """#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);
"""
SOURCE = """#include "arm_nnfunctions.h"

#include "{name}.h"

static int16_t buffer[{buffer}];
{tensors}
{constants}

static inline int32_t shifted(int32_t code, int shift)
{{
    return shift > 0 ? (code + (1 << (shift - 1))) >> shift : code * (1 << -shift);
}}

static inline int32_t clipped(int32_t code, int32_t low, int32_t high)
{{
    return code < low ? low : code > high ? high : code;
}}

void {name}_run(const uint8_t *image, int32_t *logits)
{{
    const cmsis_nn_context ctx = {{buffer, sizeof buffer}};
{calls}
}}
"""


def write_with_cmsis_nn(network: IntegerNetwork, folder: Path, cmsis_nn: Path) -> None:
    """Write C as `write_c` does, with the kernels of CMSIS-NN in place of ours.

    Args:
        network: An integer network with one input and one output, whose layers round `nearest-up` or need no rounding.
        folder: The folder to write; it must not exist yet.
        cmsis_nn: A checkout of CMSIS-NN; the sources that are needed are copied.
    """
    write_c(network, folder)
    shutil.copytree(cmsis_nn / "Include", folder, dirs_exist_ok=True)
    for kind in KERNELS:
        for path in (cmsis_nn / "Source" / f"{kind}Functions").glob("arm_*.c"):
            if not OTHERS.search(path.stem):
                shutil.copy(path, folder)
    config = folder / "Internal" / "arm_nn_config.h"
    config.write_text(f"#define CMSIS_NN_USE_SINGLE_ROUNDING\n{config.read_text()}")
    (folder / "string.h").write_text(STRING)
    name = identifier(network.name)
    (folder / f"{name}.c").write_text(_Calls(network).source(name))


class _Calls:
    """The calls of a network, and the tensors and constants that they need."""

    def __init__(self, network):
        self.network, self.tensors = network, network.tensors
        self.lines, self.constants, self.buffer = [], [], 1
        self._done = set()
        for number, operation in enumerate(network.operations, 1):
            if number not in self._done:
                self._add(number, operation)

    def source(self, name):
        """Return the text."""
        stored = sorted(set(range(1, len(self.tensors))) - self._merged())
        tensors = [f"static {self._type(i)} t{i}[{self.tensors[i].size}];" for i in stored]
        last = len(self.tensors) - 1
        calls = [*self.lines, self._each(last, f"logits[i] = t{last}[i] + {self._zero(last)};")]
        return SOURCE.format(
            name=name,
            buffer=self.buffer,
            tensors="\n".join(tensors),
            constants="\n".join(self.constants),
            calls="\n".join(f"    {line}" for line in calls),
        )

    def _merged(self):
        """Return the tensors of sums, which CMSIS-NN does not store."""
        return {i - 1 for i in self._done}

    def _zero(self, i):
        """Return what is added to what is stored of tensor `i` to get its codes."""
        return 128 if 127 < self.tensors[i].high < 256 and self.tensors[i].low >= 0 and i else 0

    def _type(self, i):
        tensor = self.tensors[i]
        narrow = -128 <= tensor.low - self._zero(i) and tensor.high - self._zero(i) <= 127
        return "int8_t" if narrow else "int16_t" if tensor.bits <= 16 else "int32_t"

    def _each(self, i, text):
        return f"for (int i = 0; i < {self.tensors[i].size}; i++) {text}"

    def _read(self, i, place="i"):
        return f"image[{place}]" if i == 0 else f"(t{i}[{place}] + {self._zero(i)})"

    def _dims(self, shape, n=1):
        return f"&(cmsis_nn_dims){{{n}, {', '.join(map(str, shape))}}}"

    def _add(self, number, operation):
        """Add the call or the loop of an operation."""
        x, out = operation.inputs[0] if operation.inputs else 0, number
        if isinstance(operation, operations.Convolve):
            self._done.add(number + 1)
            self._convolve(x, operation, number + 1, self.network.operations[number])
        elif isinstance(operation, operations.MaxPool):
            self._pool(x, operation, out)
        elif isinstance(operation, operations.Requantize):
            code = f"clipped(shifted({self._read(x)}, {operation.shift}), {operation.low}, {operation.high})"
            self.lines.append(self._each(out, f"t{out}[i] = {code} - {self._zero(out)};"))
        elif isinstance(operation, operations.Reshape):
            self.lines.append(self._each(out, f"t{out}[i] = {self._read(x)} - {self._zero(out)};"))
        elif isinstance(operation, operations.Pad):
            self._pad(x, operation, out)
        elif isinstance(operation, operations.Concatenate):
            self._join(operation, out)
        elif isinstance(operation, operations.SumPool) and operation.output.shape[:2] == (1, 1):
            height, width, channels = self.tensors[x].shape
            self.lines.append(
                f"for (int c = 0; c < {channels}; c++) {{ int32_t sum = 0; for (int i = 0; i < {height * width}; i++) "
                f"sum += {self._read(x, f'i * {channels} + c')}; t{out}[c] = sum; }}"
            )
        else:
            raise NotImplementedError(type(operation).__name__)

    def _convolve(self, x, operation, out, shift):
        assert isinstance(shift, operations.Requantize) and shift.rounding == "nearest-up" and shift.shift > 0
        shape, made = self.tensors[x].shape, self.tensors[out].shape
        height, width, _, filters = operation.kernel.shape
        kernel = np.moveaxis(operation.kernel, 3, 0)
        self._table("int8_t", f"w{out}", kernel)
        self._table("int32_t", f"b{out}", operation.bias)
        zero_in, zero = self._zero(x), self._zero(out)
        limits = f"{{{max(shift.low, 0 if zero else -128) - zero}, {shift.high - zero}}}"
        if shape[:2] == (1, 1):
            params = f"&(cmsis_nn_fc_params){{{zero_in}, 0, {-zero}, {limits}}}"
            quant = f"&(cmsis_nn_per_tensor_quant_params){{0x40000000, {1 - shift.shift}}}"
            dims = self._dims((1, 1, filters), n=shape[2])
            call = "arm_fully_connected_s8"
            first = self._dims((1, 1, shape[2]))
        else:
            self._table("int32_t", f"m{out}", np.full(filters, 0x40000000), const="")
            self._table("int32_t", f"s{out}", np.full(filters, 1 - shift.shift), const="")
            (top, _), (left, _) = operation.padding
            (down, right), (far, wide) = operation.strides, operation.dilation
            params = (
                f"&(cmsis_nn_conv_params){{{zero_in}, {-zero}, {{{right}, {down}}}, {{{left}, {top}}}, "
                f"{{{wide}, {far}}}, {limits}}}"
            )
            quant = f"&(cmsis_nn_per_channel_quant_params){{m{out}, s{out}}}"
            dims = self._dims((height, width, shape[2]), n=filters)
            self.buffer = max(self.buffer, 2 * (height * width * shape[2] + 4))
            call, first = "arm_convolve_wrapper_s8", self._dims(shape)
        self.lines.append(
            f"{call}(&ctx, {params}, {quant}, {first}, t{x}, {dims}, w{out}, {self._dims((1, 1, filters))}, b{out}, "
            f"{self._dims(made)}, t{out});"
        )

    def _pool(self, x, operation, out):
        assert self._type(x) == "int8_t" and self._zero(x) == self._zero(out)
        ((top, _), (left, _)), (down, right), window = operation.padding, operation.strides, operation.window
        params = f"&(cmsis_nn_pool_params){{{{{right}, {down}}}, {{{left}, {top}}}, {{-128, 127}}}}"
        shape = self._dims((*window, 1))
        ends = self._dims(self.tensors[x].shape), f"t{x}", shape, self._dims(operation.output.shape), f"t{out}"
        self.lines.append(f"arm_max_pool_s8(&ctx, {params}, {', '.join(ends)});")

    def _pad(self, x, operation, out):
        (top, _), (left, _) = operation.padding
        height, width, channels = self.tensors[x].shape
        row, before = width * channels, left * channels
        wide = operation.output.shape[1] * channels
        self.lines.append(self._each(out, f"t{out}[i] = {-self._zero(out)};"))
        self.lines.append(
            f"for (int y = 0; y < {height}; y++) for (int i = 0; i < {row}; i++) "
            f"t{out}[(y + {top}) * {wide} + {before} + i] = {self._read(x, f'y * {row} + i')} - {self._zero(out)};"
        )

    def _join(self, operation, out):
        height, width, channels = operation.output.shape
        first = 0
        for x, shift in zip(operation.inputs, operation.shifts):
            n = self.tensors[x].shape[2]
            code = f"{self._read(x, f'p * {n} + i')} * {1 << shift}"
            self.lines.append(
                f"for (int p = 0; p < {height * width}; p++) for (int i = 0; i < {n}; i++) "
                f"t{out}[p * {channels} + {first} + i] = {code} - {self._zero(out)};"
            )
            first += n

    def _table(self, kind, name, array, const="const "):
        numbers = ", ".join(map(str, array.ravel().tolist()))
        self.constants.append(f"static {const}{kind} {name}[] = {{{numbers}}};")
