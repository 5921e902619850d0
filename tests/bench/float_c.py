"""The C that anybody would write first: the same network in float, with plain loops, no integers and no blocking."""

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.program import plan_program

ORDERS = ("channels innermost", "filters innermost")  # gcc keeps the order of float sums, so it vectorizes the second


def float_source(network, order):
    """Return C with `void run(const uint8_t *image, float *logits)`: the convolutions, ReLUs and pools of `network`."""
    program = plan_program(network)
    network, tables, code, sizes = program.network, [], [], {}
    last = len(network.operations)
    for number, loop in enumerate(program.loops):
        source = f"w{loop.inputs[0]}"
        height, width, channels = network.tensors[loop.inputs[0]].shape
        sizes[loop.tensor] = network.tensors[loop.tensor].size
        target = f"(w{loop.tensor} + (y * {loop.shape[1]} + x) * {loop.stride} + {loop.offset})"
        code.append(f"    for (int y = 0; y < {loop.shape[0]}; y++) for (int x = 0; x < {loop.shape[1]}; x++) {{")
        code.append(f"        float *out = {target};")
        inside = f"if (v < 0 || v >= {height} || u < 0 || u >= {width}) continue;"
        pixel = f"const float *in = {source} + (v * {width} + u) * {channels};"
        operation = loop.operation
        (top, _), (left, _) = getattr(operation, "padding", ((0, 0), (0, 0)))
        if loop.kind == "convolve":
            kernel, bias = _floats(network, operation)
            rows, columns, _, filters = kernel.shape
            kernel = np.moveaxis(kernel, 3, 0) if order == ORDERS[0] else kernel
            tables += [_table(f"k{number}", kernel), _table(f"b{number}", bias)]
            window = (
                f"for (int r = 0; r < {rows}; r++) for (int q = 0; q < {columns}; q++) {{ "
                f"int v = y * {operation.strides[0]} + r - {top}, u = x * {operation.strides[1]} + q - {left}; "
                f"{inside} {pixel}"
            )
            over_filters = f"for (int f = 0; f < {filters}; f++)"
            over_channels = f"for (int c = 0; c < {channels}; c++)"
            if order == ORDERS[0]:
                weight = f"k{number}[((f * {rows} + r) * {columns} + q) * {channels} + c]"
                code.append(f"        {over_filters} {{ float sum = b{number}[f]; {window}")
                code.append(f"            {over_channels} sum += in[c] * {weight}; }} out[f] = sum; }}")
            else:
                weight = f"k{number}[((r * {columns} + q) * {channels} + c) * {filters} + f]"
                code.append(f"        float sums[{filters}]; {over_filters} sums[f] = b{number}[f]; {window}")
                code.append(f"            {over_channels} {over_filters} sums[f] += in[c] * {weight}; }}")
                code.append(f"        {over_filters} out[f] = sums[f];")
            if any(getattr(action, "low", None) == 0 for action in loop.finish):
                code.append(f"        {over_filters} out[f] = out[f] > 0 ? out[f] : 0;")
        elif loop.kind == "pad":
            code.append(f"        int v = y - {top}, u = x - {left};")
            code.append(f"        for (int c = 0; c < {channels}; c++) out[c] = 0; {inside} {pixel}")
            code.append(f"        for (int c = 0; c < {channels}; c++) out[c] = in[c];")
        elif isinstance(operation, operations.MaxPool | operations.SumPool) and not top and not left:
            (rows, columns), (down, right) = operation.window, operation.strides
            largest = loop.kind == "max_pool"
            update = "if (in[c] > best) best = in[c];" if largest else f"best += in[c] / {rows * columns};"
            code.append(f"        for (int c = 0; c < {channels}; c++) {{ float best = {'-1e30f' if largest else '0'};")
            code.append(f"            for (int r = 0; r < {rows}; r++) for (int q = 0; q < {columns}; q++) {{")
            code.append(
                f"                int v = y * {down} + r, u = x * {right} + q; {pixel} {update} }} out[c] = best; }}"
            )
        else:
            raise ValueError(f"{loop.kind} of {loop.name} is not in this benchmark")
        code.append("    }")
    tensors = "\n".join(f"static float w{i}[{size}];" for i, size in {0: network.image.size, **sizes}.items())
    scale = 2.0**network.image.exponent
    return "\n".join(
        [
            "#include <stdint.h>",
            *tables,
            tensors,
            "void run(const uint8_t *image, float *logits)\n{",
            f"    for (int i = 0; i < {network.image.size}; i++) w0[i] = (image[i] - {network.mean[0]}) * {scale}f;",
            *code,
            f"    for (int i = 0; i < {sizes[last]}; i++) logits[i] = w{last}[i];\n}}\n",
        ]
    )


def _floats(network, operation):
    """Return kernel and bias of a convolution as floats."""
    scale = 2.0 ** (operation.output.exponent - network.tensors[operation.inputs[0]].exponent)
    return operation.kernel * scale, operation.bias * 2.0**operation.output.exponent


def _table(name, array):
    numbers = ",".join(f"{value:.9g}" for value in array.ravel())
    return f"static const float {name}[{array.size}] = {{{numbers}}};"
