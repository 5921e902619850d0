"""SqueezeNet v1.0, v1.1, the six networks of chernis and each of their changes alone: one layout with options.

A convolution, eight fire modules, and a last convolution of 1x1 with one filter per class; max-pooling follows some of
them. A fire module squeezes its input to few channels by 1x1 filters, then expands them by 1x1 and 3x3 filters side by
side, four times as many of each kind. The levels are conv1, fire2 to fire9 and conv10.

Sources: vieito2017, Codes 4 and 5 (v1.1); backstrom2018, Table 2, and the authors' Caffe descriptions (v1.0, without
the border of one pixel that they put around the input of conv10); chernis, 4.2 and Tables 1 and 2.
"""

from typing import Any

from fewbits.backend import keras
from fewbits.errors import check_name
from fewbits.names import POOLINGS

layers = keras.layers

SQUEEZE = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}  # the 1x1 filters that squeeze in each fire module

_E1: dict[str, Any] = {"window": 2}
_E2 = _E1 | {"kernel": 2}
_E3 = _E2 | {"fires": (2, 4, 5, 6, 7, 8, 9), "dropout": 0.3}
_E4 = _E2 | {"stride": 1, "pad": 1, "pools": (4, 8)}
CHERNIS = {"baseline": {}, "e1": _E1, "e2": _E2, "e3": _E3, "e4": _E4, "e5": _E4}
_ALONE = {"kernel": ("kernel",), "fires": ("fires",), "dropout": ("dropout",), "delay": ("stride", "pad", "pools")}
ABLATION: dict[str, dict[str, Any]] = {
    name: {option: (_E3 | _E4)[option] for option in options} for name, options in _ALONE.items()
}
ABLATION |= {"linear": {"last": None}}


def build_squeezenet_v1_0(input_shape: tuple[int, int, int], classes: int, pooling: str = "floor") -> keras.Model:
    """Build SqueezeNet v1.0: 1,248,424 parameters at 1000 classes.

    Args:
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        pooling: As in `build_squeezenet_v1_1`.

    Raises:
        InputError: when `pooling` is unknown.
    """
    return _build("squeezenet_v1_0", input_shape, classes, pooling)


def build_squeezenet_v1_1(input_shape: tuple[int, int, int], classes: int, pooling: str = "floor") -> keras.Model:
    """Build SqueezeNet v1.1: 1,235,496 parameters at 1000 classes.

    Args:
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        pooling: `floor` drops pixels at the edge that fill no window, as vieito2017 does; `ceil` completes their
            window, as Caffe does: the published weights need it.

    Raises:
        InputError: when `pooling` is unknown.
    """
    return _build("squeezenet_v1_1", input_shape, classes, pooling, filters=64, kernel=3, pools=(1, 3, 5))


def build_squeezenet_digits(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a small SqueezeNet of conv1, fire2 to fire4 and conv10: 71,146 parameters at 10 classes.

    Its conv10 has no ReLU: trained on few images, a class whose last ReLU died would not come back.

    Args:
        input_shape: Height, width and channels of the images; made for 8 x 8 pixels.
        classes: Number of classes.
    """
    small: dict[str, Any] = {
        "filters": 16,
        "kernel": 3,
        "stride": 1,
        "pad": 1,
        "window": 2,
        "pools": (1, 3),
        "fires": (2, 3, 4),
    }
    return _build("squeezenet_digits", input_shape, classes, "floor", **small, dropout=0.2, last=None)


def build_squeezenet_cifar(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a SqueezeNet for 32 x 32 pixels that trains fast: 726,218 parameters at 10 classes once folded.

    It has a conv1 of 3x3 without stride, pooling windows of 2x2 after levels 1, 2, 4 and 8, and batch normalization
    after every convolution but the last, to be folded before quantization.

    Args:
        input_shape: Height, width and channels of the images; made for 32 x 32 pixels.
        classes: Number of classes.
    """
    small: dict[str, Any] = {"filters": 32, "kernel": 3, "stride": 1, "pad": 1, "window": 2, "pools": (1, 2, 4, 8)}
    return _build("squeezenet_cifar", input_shape, classes, "floor", **small, dropout=0.2, last=None, normalize=True)


def build_squeezenet_chernis(variant: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build one of the six networks of chernis, made for 32 x 32 x 3.

    baseline: v1.0. e1: pooling windows of 2x2. e2: e1 with 2x2 filters in conv1. e3: e2 without fire3, dropout 0.3.
    e4: e2 without the first pooling, and a conv1 of stride 1. e5: e4, to be built with 100 classes.

    Parameters at 10 classes (e5: 100): 740,554; 740,554; 727,594; 715,162 (Table 1 has 715,169, but fire3 has 12,432 in
    Table 2); 727,594; 773,764. Table 2 has conv1 pad by one pixel (33 x 33 from 32 x 32; its 33 x 33 input is a slip)
    and pooling round up (33, 17, 9), without which the baseline could not take images of 32 x 32 at all. The text
    leaves two things open that do not change the counts: stride and padding of conv1 in e2 and e3, here the baseline's
    2 and none; the dropout rate of e4, here the baseline's 0.5.

    Args:
        variant: One of CHERNIS.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
    """
    return _build(f"squeezenet_chernis_{variant}", input_shape, classes, "ceil", **CHERNIS[variant])


def build_squeezenet_ablation(change: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the baseline of chernis with one of its changes alone, made for 32 x 32 x 3.

    kernel: 2x2 filters in conv1, of stride 2 as before. fires: no fire3, the dropout rate still 0.5. dropout: a rate of
    0.3. delay: no first pooling, and a conv1 of stride 1 and pad 1, its filters still 7x7 and the windows 3x3. The
    fifth change alone, windows of 2x2, is the network e1. linear, which chernis does not try: no ReLU after conv10. A
    class whose last ReLU is dead for all images, as some are from the start, has no gradient to bring it back.

    Parameters at 10 classes: 727,594; 728,122; 740,554; 740,554; 740,554.

    Args:
        change: One of ABLATION.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
    """
    return _build(f"squeezenet_chernis_{change}", input_shape, classes, "ceil", **ABLATION[change])


def _build(
    name,
    input_shape,
    classes,
    pooling,
    filters=96,
    kernel=7,
    stride=2,
    pad=0,
    window=3,
    pools=(1, 4, 8),
    fires=tuple(SQUEEZE),
    dropout=0.5,
    last="relu",
    normalize=False,
):
    """Return the network; the defaults are v1.0's.

    filters, kernel, stride, pad: of conv1. window: side of the pooling windows. pools: levels that pooling follows.
    last: activation of conv10. normalize: put a batch normalization before every other activation.
    """
    check_name("pooling", pooling, POOLINGS)
    x = image = layers.Input(input_shape, name="image")
    if pad:
        x = layers.ZeroPadding2D(pad, name="conv1_pad")(x)
    convolve = _convolve_normalized if normalize else _convolve
    x = convolve(x, "conv1", filters, kernel, strides=stride)
    for level in (1, *fires):
        if level > 1:
            x = _fire(x, f"fire{level}", SQUEEZE[level], convolve)
        if level in pools:
            x = _pool(x, f"pool{level}", window, pooling)
    x = layers.Dropout(dropout, name="drop9")(x)
    x = _convolve(x, "conv10", classes, 1, activation=last)
    x = layers.GlobalAveragePooling2D(name="pool10")(x)
    return keras.Model(image, x, name=name)


def _convolve(x, name, filters, kernel, activation="relu", **options):
    # He's initial weights: Keras' default ones fade after so many ReLUs.
    options["kernel_initializer"] = "he_normal"
    return layers.Conv2D(filters, kernel, activation=activation, name=name, **options)(x)


def _convolve_normalized(x, name, filters, kernel, **options):
    x = _convolve(x, name, filters, kernel, activation=None, use_bias=False, **options)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _fire(x, name, squeeze, convolve):
    x = convolve(x, f"{name}_squeeze1x1", squeeze, 1)
    expand1x1 = convolve(x, f"{name}_expand1x1", 4 * squeeze, 1)
    expand3x3 = convolve(x, f"{name}_expand3x3", 4 * squeeze, 3, padding="same")
    return layers.Concatenate(name=f"{name}_concat")([expand1x1, expand3x3])


def _pool(x, name, window, pooling):
    """Return the maxima of windows 2 pixels apart; `ceil` completes a last window that reaches over the edge."""
    missing = [(window - side) % 2 for side in x.shape[1:3]]
    if pooling == "ceil" and any(missing):
        # Zeros at the bottom and right: they never win, for a ReLU comes before.
        x = layers.ZeroPadding2D([(0, pixels) for pixels in missing], name=f"{name}_pad")(x)
    return layers.MaxPooling2D(window, strides=2, name=name)(x)
