"""The engine of a page computes the codes of the integer network: every layer, whichever formats are set meanwhile."""

import json
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error

from fewbits import FixedPoint
from fewbits.backend import keras, ops
from fewbits.deploy import in_page
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.layers import by_filter, quantized_kernel
from helpers.graphs import DIGITS, FORMAT, GRAPHS, PIXELS, branches, graph, per_filter, trained

layers = keras.layers
PAGE = Path(plots.__file__).with_name("page")
SCRIPTS = "formats.js", "operations.js", "engine.js"
IMAGES = PIXELS[:300]

# A number for each image and layer that depends on every code and its place: a sum of products, modulo 2**32.
HASHES = """
window.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
window.hash = ({ codes }) =>
  codes.reduce((sum, code, i) => (sum + Math.imul(code, Math.imul(i + 1, 0x9e3779b1) | 1)) | 0, 0);
window.found = () => {
  const size = images.length / count, hashes = [];
  let tensors;
  for (let n = 0; n < count; n++) {
    tensors = network.run(images.subarray(n * size, (n + 1) * size));
    hashes.push([...tensors.values()].map(hash));
  }
  return [...tensors].map(([name, { exponent, divisor }], i) => [name, exponent, divisor, hashes.map((h) => h[i])]);
};
"""


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    """A page from a file with the scripts of the engine."""
    file = tmp_path_factory.mktemp("page") / "engine.html"
    scripts = "".join(f"<script>{(PAGE / name).read_text()}</script>" for name in SCRIPTS)
    file.write_text(f"<!doctype html><title>engine</title>{scripts}<script>{HASHES}</script>")
    page = chromium.new_page()
    page.goto(file.as_uri())
    return page


def open_network(page, model, pixels, **options):
    program = json.dumps(in_page.page_program(model, **options))
    page.evaluate("text => { window.network = new FewBits.Network(JSON.parse(text)); }", program)
    text = b64encode(np.ascontiguousarray(pixels, np.uint8).tobytes()).decode()
    page.evaluate("([text, count]) => { window.images = bytes(text); window.count = count; }", [text, len(pixels)])


def hashes_of(codes):
    """Return the hash of each image, as the page computes it."""
    codes = codes.reshape(len(codes), -1).astype(np.uint32)
    factors = np.arange(1, codes.shape[1] + 1, dtype=np.uint32) * np.uint32(0x9E3779B1) | np.uint32(1)
    return (codes * factors).sum(1, dtype=np.uint32).astype(np.int32)


def assert_same_codes(page, model, pixels, **options):
    """Check the codes of all layers, and the grids on which they lie; return the integer network."""
    network = lower(model, **options)
    expected = network.trace(pixels)
    found = page.evaluate("found()")
    assert [name for name, *_ in found] == list(expected)
    for name, exponent, divisor, hashes in found:
        np.testing.assert_array_equal(hashes, hashes_of(expected[name]), err_msg=name)
        tensor = network.tensors[network.outputs[name]]
        assert (exponent, divisor) == (tensor.exponent, tensor.divisor), name
    assert np.ptp(next(reversed(expected.values())), axis=0).any()  # else equality proves nothing
    return network


def as_json(fmt):
    if isinstance(fmt, tuple):
        return {"msb": [one.msb for one in fmt], "nbits": fmt[0].nbits}
    return {"msb": fmt.msb, "nbits": fmt.nbits, "signed": fmt.signed}


def set_in_page(page, model):
    """Give the network in the page the formats and roundings of `model`."""
    for layer in model.rounding_layers:
        named = zip(("kernel", "input", "output"), layer.formats)
        settings = {kind: as_json(fmt) for kind, fmt in named if fmt is not None} | {"rounding": layer.rounding}
        page.evaluate("([name, settings]) => network.setFormats(name, settings)", [layer.name, settings])


@pytest.fixture(scope="module")
def squeezenet():
    """The network for digits that comes with the library, with the kernels that a page holds."""
    model = trained("squeezenet_digits")
    in_page.round_for_page(model)
    return quantize_model(model)


@pytest.fixture(scope="module")
def msbs(squeezenet):
    return calibration.msb_table(squeezenet, DIGITS.scaled(DIGITS.test.take(64)))


def of_each_filter(layer, nbits):
    """Return a format for each filter that just holds its weights."""
    largest = np.abs(by_filter(layer, layer.kernel)).max(0)
    return tuple(FixedPoint(int(np.frexp(weight)[1]), nbits) for weight in largest)


def unsigned(fmt):
    return FixedPoint(fmt.msb - 1, fmt.nbits, signed=False)


def set_formats(model, msbs, widths, roundings, are_unsigned=False, by_filters=False):
    """Give each layer of `model` the next of `widths` and of `roundings`."""
    for n, layer in enumerate(model.rounding_layers):
        bits = widths[n % len(widths)]
        [(kernel, x, y, _)] = calibration.formats_from_msbs({layer.name: msbs[layer.name]}, (bits,) * 3).values()
        if by_filters:
            kernel = of_each_filter(layer, bits)
        if are_unsigned:
            x, y = unsigned(x), unsigned(y)
        layer.set_formats(kernel, x, y)
        layer.rounding = roundings[n % len(roundings)]


FLOOR, NEAREST, UP, AWAY = ([name] for name in INTEGER_ROUNDINGS)
SETS = {
    "8 bits": ([8], NEAREST),
    "8 bits, unsigned": ([8], FLOOR, True),
    "6 bits per filter": ([6], UP, False, True),
    "6 bits, unsigned": ([6], AWAY, True),
    "4 bits": ([4], NEAREST),
    "4 bits per filter, unsigned": ([4], NEAREST, True, True),
    "3 bits, unsigned": ([3], UP, True),
    "3 bits per filter": ([3], AWAY, False, True),
    "mixed": ([8, 4, 6, 3], NEAREST),
    "mixed, unsigned": ([3, 6, 8, 4, 6], UP, True, True),
    "mixed roundings": ([4, 8, 6], INTEGER_ROUNDINGS, False, True),
    "16 bits, whose sums need more than 32": ([16], NEAREST),
}


@pytest.fixture(scope="module")
def opened(page, squeezenet, msbs):
    """The page with the network, whose formats are set again and again without a new one."""
    set_formats(squeezenet, msbs, *SETS["8 bits"])
    open_network(page, squeezenet, IMAGES, levels=DIGITS.levels)
    return page


@pytest.mark.parametrize("name", SETS)
def test_codes_of_all_layers_are_those_of_the_integer_network(opened, squeezenet, msbs, name):
    set_formats(squeezenet, msbs, *SETS[name])
    set_in_page(opened, squeezenet)
    network = assert_same_codes(opened, squeezenet, IMAGES, levels=DIGITS.levels)
    assert (max(each.partial_bits for each in network.convolutions) > 32) == name.startswith("16")


def test_the_network_reads_as_many_images_right_as_integers_do(opened, squeezenet, msbs):
    set_formats(squeezenet, msbs, *SETS["4 bits"])
    set_in_page(opened, squeezenet)
    answers = lower(squeezenet, levels=DIGITS.levels).run(IMAGES).argmax(1)
    labels = DIGITS.test.labels[:300].tolist()
    found = opened.evaluate(
        """async (labels) => {
          const progress = [];
          const onProgress = (part) => progress.push(part);
          const { right, total, answers } = await network.accuracy(images, labels, { onProgress });
          return { right, total, answers: [...answers], last: progress.at(-1), parts: progress.length };
        }""",
        labels,
    )
    assert found["answers"] == answers.tolist()
    right = int((answers == DIGITS.test.labels[:300]).sum())
    assert found["right"] == right and 150 < right < 300
    assert found["last"] == {"done": 300, "right": right, "total": 300} and found["parts"] > 1


PARTS = {"kernels": ["kernel"], "inputs": ["input"], "outputs": ["output"], "products": ["kernel", "input"]}


@pytest.mark.parametrize("kinds", PARTS.values(), ids=PARTS)
def test_what_has_no_format_is_computed_in_float(opened, squeezenet, msbs, kinds):
    set_formats(squeezenet, msbs, *SETS["mixed"])
    every = {layer.name: layer.formats for layer in squeezenet.rounding_layers}
    set_in_page(opened, squeezenet)
    for layer in squeezenet.rounding_layers[:7]:  # the others keep all their formats
        layer.set_formats(**{kind: getattr(layer.formats, kind) for kind in kinds})
        others = {kind: None for kind in ("kernel", "input", "output") if kind not in kinds}
        opened.evaluate("([name, others]) => network.setFormats(name, others)", [layer.name, others])
    expected = ops.convert_to_numpy(squeezenet(DIGITS.scaled(DIGITS.test.take(20))))
    found = opened.evaluate(
        """[...Array(20).keys()].map((n) => {
          const tensors = [...network.run(images.subarray(64 * n, 64 * n + 64)).values()];
          return [...tensors.at(-1).values()];
        })"""
    )
    for layer in squeezenet.rounding_layers:
        layer.set_formats(*every[layer.name])
    step = squeezenet.rounding_layers[-1].formats.output.step
    close = np.abs(np.array(found) - expected) < step / 2**6  # float32 and float64 may fall on two sides of a tie
    assert close.mean() > 0.95 and len(np.unique(expected)) > 20


def test_a_change_meanwhile_ends_the_count_of_right_answers(opened):
    name = opened.evaluate(
        """() => {
          const started = network.accuracy(images, new Uint8Array(count));
          network.setFormats("conv10", { kernel: { msb: 0, nbits: 2 } });
          return started.catch((error) => error.name);
        }"""
    )
    assert name == "AbortError"


def test_a_change_of_a_late_layer_leaves_earlier_results_as_they_are(opened):
    kept = opened.evaluate(
        """() => {
          const image = images.subarray(0, images.length / count);
          const before = network.run(image);
          network.setFormats("conv10", { kernel: { msb: -1, nbits: 3 } });
          const after = network.run([...image]);
          return [...after].map(([name, tensor]) => [name, tensor === before.get(name)]);
        }"""
    )
    changed = [name for name, same in kept if not same]
    assert changed[0] == "conv10" and len(kept) - len(changed) > 15


def test_the_float_network_is_that_of_keras(opened, squeezenet):
    logits = opened.evaluate(
        "[0, 1, 2].map((n) => [...network.runFloat(images.subarray(64 * n, 64 * n + 64)).get('pool10').values()])"
    )
    squeezenet.set_level(0)
    expected = ops.convert_to_numpy(squeezenet(DIGITS.scaled(DIGITS.test.take(3))))
    squeezenet.set_level(squeezenet.levels)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_kernels_are_rounded_as_in_python(opened, squeezenet, msbs):
    for name in ("mixed roundings", "8 bits"):
        set_formats(squeezenet, msbs, *SETS[name])
        set_in_page(opened, squeezenet)
        layer = squeezenet.get_layer("fire2_squeeze1x1")
        kernel = opened.evaluate(
            """(name) => {
              const { values, rounded } = network.kernel(name);
              return [[...values], [...rounded]];
            }""",
            layer.name,
        )
        np.testing.assert_array_equal(kernel[0], ops.convert_to_numpy(layer.kernel).ravel())
        np.testing.assert_array_equal(kernel[1], quantized_kernel(layer).ravel())


# Layers of all kinds that the engine has


def fire(filters):
    """Return the two branches of a fire module."""
    squeeze = layers.Conv2D(filters, 1, activation="relu")
    return lambda x: branches(
        layers.Concatenate(),
        layers.Conv2D(3, 1, activation="relu"),
        layers.Conv2D(3, 3, padding="same", activation="relu"),
    )(squeeze(x))


OTHERS = [
    lambda: [
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(3, 1),
    ],
    lambda: [fire(2), layers.MaxPooling2D(2), layers.Conv2D(3, 1)],
    lambda: [layers.Conv2D(6, 1, activation="relu"), layers.Conv2D(6, 3, groups=3), layers.GlobalAveragePooling2D()],
    lambda: [layers.Conv2D(6, 2), layers.AveragePooling2D(2), layers.Dropout(0.5), layers.MaxPooling2D(2)],
]


SUPPORTED = [build for build in GRAPHS if not any(isinstance(part, layers.Rescaling) for part in build())]


@pytest.mark.parametrize("number", range(len(SUPPORTED) + len(OTHERS)))
def test_codes_of_every_kind_of_layer_are_those_of_the_integer_network(page, number):
    build, rounding = [*SUPPORTED, *OTHERS][number], INTEGER_ROUNDINGS[number % 4]
    model = graph(*build(), rounding=rounding, fold_batch_normalization=True)
    in_page.round_for_page(model)
    pixels = np.random.default_rng(7).integers(0, 256, (20, *model.inputs[0].shape[1:]))
    open_network(page, model, pixels)
    assert_same_codes(page, model, pixels)
    model.set_formats((FixedPoint(1, 5), FixedPoint(1, 8), FixedPoint(2, 9)))
    set_in_page(page, model)
    assert_same_codes(page, model, pixels)


def test_sums_without_an_output_format_reach_the_finest_grid_of_the_filters(page):
    model = graph(layers.Conv2D(5, 3), layers.MaxPooling2D(2))
    [layer] = model.quantized_layers
    layer.set_formats(per_filter(layer, 5), FORMAT["input"])
    in_page.round_for_page(model)
    pixels = np.random.default_rng(7).integers(0, 256, (20, 7, 6, 3))
    open_network(page, model, pixels)
    assert_same_codes(page, model, pixels)


def test_a_mean_of_each_channel_is_subtracted(page):
    model = graph(layers.Conv2D(4, 3))
    in_page.round_for_page(model)
    pixels = np.random.default_rng(7).integers(0, 256, (20, 7, 6, 3))
    open_network(page, model, pixels, mean=[100, 120, 7], divisor=64)
    assert_same_codes(page, model, pixels, mean=[100, 120, 7], divisor=64)


# What is refused


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([layers.Rescaling(0.5), layers.Conv2D(4, 2)], "layer rescaling.* is a Rescaling, which the engine"),
        ([layers.Conv2DTranspose(4, 2, name="up")], "layer up is a QuantizedConv2DTranspose, which the engine"),
        ([layers.AveragePooling2D(2, padding="same", name="mean"), layers.Conv2D(2, 1)], "layer mean averages windows"),
        (
            [layers.Conv2D(4, 2), layers.Activation("sigmoid", name="s"), layers.Conv2D(2, 1)],
            "layer s rounds .* sigmoid",
        ),
    ],
)
def test_what_the_engine_does_not_support_is_refused_by_name(parts, says):
    model = graph(*parts)
    for layer in model.rounding_layers:
        layer.set_formats(**FORMAT)
    in_page.round_for_page(model)
    with pytest.raises(InputError, match=says):
        in_page.page_program(model)


def test_kernels_of_more_bits_than_the_page_holds_are_refused():
    model = graph(layers.Conv2D(4, 3, name="conv"))
    with pytest.raises(InputError, match=r"the kernel of layer conv has more than 16 bits; .*round_for_page"):
        in_page.page_program(model)
    [layer] = model.quantized_layers
    before = ops.convert_to_numpy(layer.kernel).astype(float)
    in_page.round_for_page(model)
    after = ops.convert_to_numpy(layer.kernel).astype(float)
    assert 0 < np.abs(after - before).max() <= np.abs(before).max() / 2**15
    in_page.round_for_page(model)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.kernel), after)
    assert in_page.page_program(model)["calls"][0]["kernel"]["exponent"] < 0


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "network.setFormats('conv', { kernel: { msb: 0, nbits: 25 } })",
            "layer conv: a format has 1 to 24 bits, not 25",
        ),
        (
            "network.setFormats('conv', { input: { msb: 0.5, nbits: 8 } })",
            "layer conv: the MSB must be an integer, not 0.5",
        ),
        ("network.setFormats('conv', { bias: null })", "layer conv: the bias has no format to change"),
        (
            "network.setFormats('conv', { kernel: { msb: [0, 1], nbits: 8 } })",
            "layer conv has 90 filters, not 2 kernel formats",
        ),
        ("network.setFormats('none', {})", "there is no layer none"),
        (
            "network.setFormats('conv', { rounding: 'up' })",
            "there is no rounding up; there are floor, nearest, nearest-up, nearest-away",
        ),
        ("network.run([1, 2])", "an image has 7 x 6 x 3 pixels, not 2"),
        ("network.run(Array(126).fill(256))", "a pixel is an integer from 0 to 255, not 256"),
        (
            "network.setFormats('conv', { output: { msb: 5, nbits: 4 } }); network.run(images.subarray(0, 126))",
            "layer conv clips at 6, which is not a multiple of its step 4",
        ),
        (
            "network.setFormats('sum', { kernel: { msb: -5, nbits: 24 }, input: { msb: 3, nbits: 24 } });"
            "network.run(images.subarray(0, 126))",
            "layer sum needs integers of more than 53 bits",
        ),
    ],
)
def test_the_page_refuses_in_one_sentence(page, script, says):
    model = graph(layers.Conv2D(90, 3, activation="relu6", name="conv"), layers.Conv2D(2, 3, name="sum"))
    in_page.round_for_page(model)
    open_network(page, model, np.zeros((1, 7, 6, 3)))
    with pytest.raises(Error) as error:
        page.evaluate(f"() => {{ {script} }}")
    assert says in str(error.value)
