"""What must be fast, timed (`make bench`). Tests never assert a time; here medians are printed for people."""

import statistics
import time

from fewbits import data, explore
from fewbits.backend import keras


def median_ms(action, runs=30):
    """Return the median time of `action(i)` in milliseconds, after one call to warm up."""
    action(0)
    times = []
    for i in range(1, runs + 1):
        began = time.perf_counter()
        action(i)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def slider_move():
    """A move of the weights explorer's slider, kernel side: quantize, classify 359 images, fill the figure."""
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
    widget = explore.weights(model, digits.scaled(digits.validation), digits.validation.labels, "0").widget()
    bits = widget.children[0].children[0]

    def move(i):
        bits.value = 2 + i % 8

    return median_ms(move)


if __name__ == "__main__":
    print(f"a slider's move, kernel side     {slider_move():8.1f} ms    (goal: 200 ms with the browser's share)")
