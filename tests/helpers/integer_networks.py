"""Integer networks of a few operations, made by hand."""

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork, Output
from fewbits.deploy.operations import Tensor, signed_bits


class Network:
    """Operations added one by one, with limits by interval arithmetic; every method returns the index of a tensor."""

    def __init__(self, shape=(6, 5, 3), mean=0, seed=0):
        self.random = np.random.default_rng(seed)
        self.mean = (mean,) * shape[2]
        self.tensors, self.operations = [Tensor(shape, -8, -mean, 255 - mean)], []

    def add(self, kind, inputs, shape, low, high, *fields, divisor=None):
        divisor = self.tensors[inputs[0]].divisor if divisor is None else divisor
        self.tensors.append(Tensor(shape, 0, int(low), int(high), divisor))
        self.operations.append(kind(f"layer{len(self.operations)}", tuple(inputs), self.tensors[-1], *fields))
        return len(self.operations)

    def convolve(self, i, filters, size=(3, 3), strides=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), bits=8):
        x = self.tensors[i]
        kernel = self.random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (*size, x.shape[2], filters))
        return self._convolve(i, kernel, strides, padding, dilation, False)

    def grouped(self, i, groups, filters, size=(3, 3), padding=((1, 1), (0, 1))):
        kernel = self.random.integers(-128, 128, (*size, self.tensors[i].shape[2] // groups, filters * groups))
        return self._convolve(i, kernel, (1, 1), padding, (1, 1), False, groups)

    def depthwise(self, i, multiplier=1, size=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)):
        kernel = self.random.integers(-128, 128, (*size, self.tensors[i].shape[2], multiplier))
        return self._convolve(i, kernel, strides, padding, dilation, True)

    def _convolve(self, i, kernel, strides, padding, dilation, depthwise, groups=1):
        x = self.tensors[i]
        filters = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
        terms = kernel.reshape(*kernel.shape[:2], -1, filters)
        bias = self.random.integers(-500, 500, filters)
        low, high = min(x.low, 0), max(x.high, 0)
        least = (np.minimum(terms * low, terms * high)).sum((0, 1, 2)) + np.minimum(bias, 0)
        most = (np.maximum(terms * low, terms * high)).sum((0, 1, 2)) + np.maximum(bias, 0)
        partial = signed_bits(int(least.min()), int(most.max()))
        reach = [(n - 1) * d + 1 for n, d in zip(kernel.shape, dilation)]
        sides = [(n + sum(p) - r) // s + 1 for n, p, r, s in zip(x.shape, padding, reach, strides)]
        fields = (kernel, bias, strides, padding, dilation, depthwise, partial, 0, groups)
        return self.add(operations.Convolve, (i,), (*sides, filters), least.min(), most.max(), *fields)

    def requantize(self, i, shift, rounding="nearest", low=-128, high=127):
        x = self.tensors[i]
        fields = (shift, x.divisor, rounding, low, high)
        return self.add(operations.Requantize, (i,), x.shape, low, high, *fields, divisor=1)

    def clip(self, i, low, high):
        x = self.tensors[i]
        limits = (min(max(end, low), high) for end in (x.low, x.high))
        return self.add(operations.Clip, (i,), x.shape, *limits, low, high)

    def add_constant(self, i, shift=1):
        x = self.tensors[i]
        constant = self.random.integers(-50, 50, x.shape[2])
        low, high = (x.low << shift) + constant.min(), (x.high << shift) + constant.max()
        return self.add(operations.AddConstant, (i,), x.shape, low, high, shift, constant)

    def max_pool(self, i, window=(3, 3), strides=(2, 2), padding=((0, 1), (1, 1))):
        x = self.tensors[i]
        sides = [(n + sum(p) - w) // s + 1 for n, p, w, s in zip(x.shape, padding, window, strides)]
        return self.add(operations.MaxPool, (i,), (*sides, x.shape[2]), x.low, x.high, window, strides, padding)

    def sum_pool(self, i, window=(2, 3), strides=(1, 1)):
        x = self.tensors[i]
        n = window[0] * window[1]
        sides = [(side - w) // s + 1 for side, w, s in zip(x.shape, window, strides)]
        fields, divisor = (window, strides), x.divisor * n
        return self.add(operations.SumPool, (i,), (*sides, x.shape[2]), x.low * n, x.high * n, *fields, divisor=divisor)

    def pad(self, i, padding):
        x = self.tensors[i]
        sides = [n + sum(side) for n, side in zip(x.shape, padding)]
        return self.add(operations.Pad, (i,), (*sides, x.shape[2]), min(x.low, 0), max(x.high, 0), padding)

    def reshape(self, i, shape):
        return self.add(operations.Reshape, (i,), shape, self.tensors[i].low, self.tensors[i].high)

    def concatenate(self, indices, shifts):
        lows, highs = self._limits(indices, shifts)
        shape = (*self.tensors[indices[0]].shape[:2], sum(self.tensors[i].shape[2] for i in indices))
        return self.add(operations.Concatenate, indices, shape, min(lows), max(highs), shifts)

    def sum_of(self, indices, shifts):
        lows, highs = self._limits(indices, shifts)
        return self.add(operations.Add, indices, self.tensors[indices[0]].shape, sum(lows), sum(highs), shifts)

    def spread(self, i, strides):
        x = self.tensors[i]
        sides = [(side - 1) * stride + 1 for side, stride in zip(x.shape, strides)]
        return self.add(operations.Spread, (i,), (*sides, x.shape[2]), min(x.low, 0), max(x.high, 0), strides)

    def repeat(self, i, size):
        x = self.tensors[i]
        sides = [side * times for side, times in zip(x.shape, size)]
        return self.add(operations.Repeat, (i,), (*sides, x.shape[2]), x.low, x.high, size)

    def transpose(self, i):
        x = self.tensors[i]
        return self.add(operations.Transpose, (i,), (x.shape[1], x.shape[0], x.shape[2]), x.low, x.high)

    def product(self, i, j):
        ends = [a * b for a in self._ends(i) for b in self._ends(j)]
        return self.add(operations.Multiply, (i, j), self.tensors[i].shape, min(ends), max(ends))

    def difference(self, i, j, shifts):
        (low, high), (least, most) = ([end << s for end in self._ends(k)] for k, s in zip((i, j), shifts))
        return self.add(operations.Subtract, (i, j), self.tensors[i].shape, low - most, high - least, shifts)

    def extreme(self, kind, indices, shifts):
        lows, highs = self._limits(indices, shifts)
        best = max if kind is operations.Largest else min
        return self.add(kind, indices, self.tensors[indices[0]].shape, best(lows), best(highs), shifts)

    def leaky(self, i, shape, shift=3):
        x, slope = self.tensors[i], self.random.integers(-9, 9, shape)
        ends = [min(x.low, 0) * int(s) for s in (slope.min(), slope.max())]
        ends += [max(x.low, 0) << shift, max(x.high, 0) << shift, 0]
        return self.add(operations.Leaky, (i,), x.shape, min(ends), max(ends), slope, shift)

    def table(self, i, largest=100):
        x = self.tensors[i]
        codes = self.random.integers(-largest, largest, x.high - x.low + 1)
        return self.add(operations.LookUp, (i,), x.shape, codes.min(), codes.max(), x.low, codes, divisor=1)

    def input(self, shape, mean=0):
        return self.add(operations.Input, (), shape, -mean, 255 - mean, (mean,) * shape[2], divisor=1)

    def _ends(self, i):
        return self.tensors[i].low, self.tensors[i].high

    def _limits(self, indices, shifts):
        return ([getattr(self.tensors[i], end) << s for i, s in zip(indices, shifts)] for end in ("low", "high"))

    def made(self, *earlier):
        """Return the network; its outputs are the tensors `earlier` and the last one."""
        outputs = [Output(f"tensor{i}", i, (self.tensors[i].size,)) for i in earlier]
        shape = (self.tensors[-1].size,)
        return IntegerNetwork("net", self.tensors[0], self.mean, tuple(self.operations), {}, shape, outputs)

    def reach(self):
        """Return the least and the greatest code of the last tensor, for some images."""
        codes = self.made().run(self.pixels(10))
        return int(codes.min()), int(codes.max())

    def pixels(self, n=60, i=0):
        """Return images for the input `i`, the darkest and the brightest first."""
        edges = np.array([0, 255], np.uint8)[:, None, None, None] + np.zeros(self.tensors[i].shape, np.uint8)
        return np.concatenate([edges, self.random.integers(0, 256, (n, *self.tensors[i].shape), np.uint8)])


def every_operation(shape=(5, 4, 6), mean=70, low=-128, high=127):
    """Return a network that holds the operations of joins, functions and moves, each with all that it can be.

    Codes that are multiplied by a kernel have 8 bits at most, and sums 32, as in ONNX.

    Args:
        shape: Of the image.
        mean: Of its pixels.
        low: The smallest code of the tensor that most operations read.
        high: The largest one.
    """
    net = Network(shape, mean)
    narrow = net.requantize(0, 8 - high.bit_length(), low=low, high=high)
    wide = net.requantize(net.convolve(narrow, 6, (1, 1), bits=8), 2, low=-(2**15), high=2**15 - 1)
    grouped = net.requantize(net.grouped(narrow, 3, 4), 7)
    spread = net.requantize(net.convolve(net.spread(narrow, (2, 3)), 3, (2, 2), padding=((1, 1), (1, 1))), 8)
    moved = net.transpose(net.repeat(net.table(narrow), (1, 2)))
    sums = net.sum_pool(narrow, shape[:2])
    products = [net.product(wide, sums), net.product(narrow, narrow)]
    for window in ((1, shape[1]), (shape[0], 1)):
        products.append(net.product(wide, net.sum_pool(narrow, window)))
    products.append(net.product(narrow, net.convolve(narrow, 1, (1, 1))))
    products.append(net.product(narrow, net.convolve(narrow, 1, shape[:2])))
    joined = [net.difference(wide, narrow, (0, 3)), net.difference(narrow, wide, (2, 0))]
    joined += [net.extreme(kind, (narrow, wide, 0), (4, 0, 1)) for kind in (operations.Largest, operations.Smallest)]
    shapes = [(1,), (1, 1, 6), (6,), shape, (shape[0], 1, 1), (1, shape[1], 6)]
    leaky = [net.leaky(net.requantize(narrow, 0), slope) for slope in shapes]
    turned = net.leaky(net.reshape(net.clip(narrow, -9, 9), (shape[1], shape[0], 6)), (1,), 2)
    tables = [net.table(net.requantize(wide, 8), 2**20), net.table(net.reshape(turned, (1, 1, net.tensors[0].size)))]
    ends = [grouped, spread, moved, *products, *joined, *leaky, *tables]
    flat = [net.reshape(i, (1, 1, net.tensors[i].size)) for i in ends]
    outputs = [net.requantize(i, 0, low=-(2**31), high=2**31 - 1) for i in flat]
    net.concatenate(outputs, (0,) * len(outputs))
    return net


def ends(outputs, mean=3):
    """Return a network with two more inputs and the outputs that `outputs` picks of its tensors."""
    net = Network((4, 3, 2), mean)
    image, vector = net.input((4, 3, 2)), net.input((1, 1, 5), 90)
    total = net.sum_of((0, image), (0, 1))
    flat = net.reshape(net.requantize(total, 1), (1, 1, 24))
    dense = net.requantize(net.convolve(flat, 7, (1, 1)), 6)
    joined = net.concatenate((dense, vector), (0, 1))
    net.convolve(net.requantize(joined, 2), 2, (1, 1))
    tensors = {"image": 0, "input": image, "vector": vector, "total": total, "flat": flat, "joined": joined}
    tensors["last"] = len(net.operations)
    picked = [tensors[name] for name in outputs]
    return net.made(*picked), [net.pixels(20, i) for i in (0, image, vector)]
