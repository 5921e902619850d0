"""Files of Caffe, written byte by byte."""

import struct

import numpy as np

# Protobuf's wire format, by its public description: a key, then a varint, four bytes, or a length and as many bytes.


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def inside(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, old, packed=True):
    if old:
        sides = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(varint(number << 3) + varint(n) for number, n in enumerate(sides, 1))
    else:
        shape = inside(7, inside(1, b"".join(map(varint, array.shape))))
    floats = [struct.pack("<f", x) for x in array.ravel()]
    data = inside(5, b"".join(floats)) if packed else b"".join(varint(5 << 3 | 5) + f for f in floats)
    return shape + data


def caffemodel(arrays, old=False, packed=True):
    name, blobs, layer = (4, 6, 2) if old else (1, 7, 100)
    net = inside(1, b"a network") + inside(layer, inside(name, b"data"))
    for key, pair in arrays.items():
        content = inside(name, key.encode()) + b"".join(inside(blobs, blob(a, old, packed)) for a in pair)
        net += inside(layer, content)
    return net


def npz(path, arrays):
    np.savez(path, **{f"{k}.{kind}": a for k, pair in arrays.items() for kind, a in zip("wb", pair)})
