"""Solutions of lab 2."""


def output_side(side, kernel, stride, padding):
    """Return how many places a kernel has along one side."""
    if padding == "same":
        return (side + stride - 1) // stride
    return (side - kernel) // stride + 1


def convolution_bills(image, filters, kernel, groups):
    """Return (parameters, MACs, values written); image = (h, w, c)."""
    height, width, channels = image
    weights = kernel**2 * (channels // groups) * filters
    places = height * width
    return weights + filters, weights * places, filters * places


def packed_bytes(layers, bits):
    """Return the bytes of layers, a list of (weights, biases)."""
    return sum((weights * bits + 7) // 8 + 4 * biases for weights, biases in layers)


def peak_values(steps):
    """Return the most values that are held at a time."""
    last = {read: name for name, reads, _ in steps for read in reads}
    held, peak = {}, 0
    for name, reads, size in steps:
        held[name] = size
        peak = max(peak, sum(held.values()))
        for read in reads:
            if last[read] == name:
                held.pop(read)
    return peak
