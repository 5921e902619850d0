"""Time a slider's move in kernel_histogram, in the kernel: quantize, classify 359 images, fill the figure."""

import statistics

from timing import milliseconds

from fewbits import data, explore
from fewbits.backend import keras


def move():
    """Return a function of i that moves the slider to its i-th place."""
    digits = data.load("digits", validation=0.25)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(digits.image_shape),
            layers.Conv2D(16, 3, padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    widget = explore.kernel_histogram(model, digits, "0").widget()
    bits = widget.children[0].children[1]

    def to(i):
        bits.value = 2 + i % 8

    return to


def report(runs=30):
    to = move()
    to(0)  # warms up
    median = statistics.median(milliseconds(lambda i=i: to(i)) for i in range(1, runs + 1))
    print(f"a slider's move, in the kernel   {median:8.1f} ms    (goal: 200 ms including the browser)")
