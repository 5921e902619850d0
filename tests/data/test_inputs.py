"""Images in every form that users give them, against the arrays themselves; what does not fit is refused."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import keras
from fewbits.data import Split, input_arrays, input_batches, load_folder
from fewbits.training import evaluate

L = keras.layers
RNG = np.random.default_rng(0)
X, Z, LABELS = RNG.random((6, 8, 8, 3), dtype="float32"), RNG.random((6, 5), dtype="float32"), np.arange(6)


def network(shape=(8, 8, 3)):
    images = L.Input(shape, name="photo")
    return keras.Model(images, L.Flatten()(images) if None not in shape else L.GlobalMaxPooling2D()(images), name="net")


def two_inputs(keys=None):
    photo, numbers = L.Input((8, 8, 3), name="photo"), L.Input((5,), name="numbers")
    outputs = L.Concatenate()([L.Flatten()(photo), numbers])
    return keras.Model([photo, numbers] if keys is None else dict(zip(keys, [photo, numbers])), outputs, name="net")


class Sequence(keras.utils.PyDataset):
    def __init__(self, labelled, endless=False):
        super().__init__()
        self.labelled, self.endless = labelled, endless

    @property
    def num_batches(self):
        return None if self.endless else 3

    def __getitem__(self, i):
        chosen = slice(2 * (i % 3), 2 * (i % 3) + 2)
        return (X[chosen], LABELS[chosen]) if self.labelled else X[chosen]


def stream(*values, batch=None):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(values if len(values) > 1 else values[0])
    return data if batch is None else data.batch(batch)


GIVEN = {
    "array": lambda: X,
    "nested lists": X.tolist,
    "list of images": lambda: list(X),
    "tuple of images": lambda: tuple(X),
    "list of the input": lambda: [X],
    "dictionary": lambda: {"photo": X},
    "pair with labels": lambda: (X, LABELS),
    "labels and weights": lambda: (X, LABELS, np.ones(6)),
    "tensor": lambda: keras.ops.convert_to_tensor(X),
    "tf.data, single images": lambda: stream(X),
    "tf.data, batches": lambda: stream(X, batch=4),
    "tf.data, labelled images": lambda: stream(X, LABELS),
    "tf.data, labelled batches": lambda: stream(X, LABELS, batch=4),
    "tf.data, dictionaries": lambda: stream({"photo": X}, LABELS, batch=4),
    "PyDataset": lambda: Sequence(labelled=False),
    "PyDataset with labels": lambda: Sequence(labelled=True),
    "generator of images": lambda: (x for x in X),
    "generator of batches": lambda: iter([X[:4], X[4:]]),
    "generator of labelled images": lambda: zip(X, LABELS),
}


@pytest.mark.parametrize("given", GIVEN)
def test_all_ways_to_give_images_are_the_same_array(given):
    [images] = input_arrays(network(), GIVEN[given]())
    assert images.dtype == np.float32 and np.array_equal(images, X)


def test_pixels_of_a_split_are_taken_as_they_are():
    codes = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    [images] = input_arrays(network(), Split(codes, np.zeros(3, int)))
    assert images.dtype == np.float32 and np.array_equal(images, codes)


def test_a_folder_is_read_as_it_decodes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name in "ab":
        (tmp_path / name).mkdir()
        image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name / "1.png")
    folder = load_folder(tmp_path, size=8)
    expected = np.concatenate([images for images, _ in folder.batches(2)])
    assert np.array_equal(input_arrays(network(), folder)[0], expected)


@pytest.mark.parametrize(
    "given",
    [
        [X, Z],
        (X, Z),
        {"photo": X, "numbers": Z},
        {"numbers": Z, "photo": X},
        ([X, Z], LABELS),
        ({"photo": X, "numbers": Z}, LABELS),
        iter([(X[:2], Z[:2]), (X[2:], Z[2:])]),
        iter([((x, z), 0) for x, z in zip(X, Z)]),
    ],
)
def test_several_inputs(given):
    photo, numbers = input_arrays(two_inputs(), given)
    assert np.array_equal(photo, X) and np.array_equal(numbers, Z)


def test_a_model_with_a_dictionary_of_inputs_takes_its_keys():
    model = two_inputs(("photo", "numbers"))
    found = dict(zip([x.name for x in model.inputs], input_arrays(model, {"photo": X, "numbers": Z})))
    assert np.array_equal(found["photo"], X) and np.array_equal(found["numbers"], Z)


def test_of_a_stream_only_so_many_images_are_read():
    assert np.array_equal(
        input_arrays(network(), Sequence(True, endless=True), most=9)[0], np.tile(X, (2, 1, 1, 1))[:9]
    )
    assert len(input_arrays(network(), X, most=3)[0]) == 6
    taken = []
    list(zip(range(2), input_batches(network(), (taken.append(x) or x for x in np.tile(X, (20, 1, 1, 1))))))
    assert len(taken) <= 3 * 32


def test_images_of_any_size_fit_an_open_network():
    model = network((None, None, 3))
    assert input_arrays(model, X[:, :5])[0].shape == (6, 5, 8, 3)
    with pytest.raises(InputError, match=r"images of different sizes, \(5, 8, 3\) and \(8, 8, 3\); resize them to one"):
        input_arrays(model, iter([X[0], X[1, :5]]))


REFUSED = {
    "no batch axis": (X[0], r"\(8, 8, 3\), and net takes \(n, 8, 8, 3\); a single image needs a batch axis"),
    "gray": (
        X[..., :1],
        r"\(6, 8, 8, 1\), and net takes .*; repeat the gray channel, as in np.repeat\(images, 3, -1\)",
    ),
    "no channel axis": (X[..., 0], r"\(6, 8, 8\), and net takes .*; gray images need a channel axis"),
    "alpha": (np.concatenate([X, X[..., :1]], -1), r"\(6, 8, 8, 4\), .*; give it 3 channels"),
    "another size": (np.zeros((2, 9, 8, 3)), r"\(2, 9, 8, 3\), and net takes \(n, 8, 8, 3\); resize the images"),
    "channels first": (np.moveaxis(X, -1, 1), r"\(6, 3, 8, 8\), .*channels come last, as in np.moveaxis"),
    "batches of batches": (X[np.newaxis], r"\(1, 6, 8, 8, 3\), .*; it must have 4 axes"),
    "text": ("photos.npz", r"images is of the type str, and net takes \(n, 8, 8, 3\); give an array"),
    "nothing": (None, "images is of the type NoneType"),
    "a number": (3, "images is of the type int"),
    "words": (np.full((6, 8, 8, 3), "a"), "must hold real numbers"),
    "NaN": (np.where(X == X.max(), np.nan, X), "images holds 1 value"),
    "too large": (X.astype(float) * 1e300, "numbers beyond 3e38"),
    "no images": (X[:0], "at least one image is needed"),
    "empty list": ([], "images is a list of 0, and net takes"),
    "a generator at its end": (iter([]), "none; an iterator that has been read to its end is empty"),
    "an unknown name": ({"foto": X}, "net has no input 'foto', perhaps 'photo'; it has photo"),
    "two batches in a list": ([X, X], "list of 2 arrays that all fit net; join them to one array, or give a tuple"),
    "gray in a stream": (iter(X[..., :1]), r"\(8, 8, 1\), and net takes \(n, 8, 8, 3\)"),
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(given):
    images, message = REFUSED[given]
    with pytest.raises(InputError, match=message) as caught:
        input_arrays(network(), images)
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            X,
            r"one array of shape .*, and net takes 2 arrays, for photo \(n, 8, 8, 3\) and numbers \(n, 5\)",
        ),
        ([X], "images is a list of 1"),
        ({"photo": X}, "images has nothing for the input numbers of net; add it"),
        ([X, Z[:4]], "images has 6 and 4 samples for the inputs photo, numbers; give each input as many"),
        ([Z, X], r"images for the input photo has the shape \(6, 5\), and net takes \(n, 8, 8, 3\)"),
        ((X, LABELS), r"images for the input numbers has the shape \(6\), and net takes \(n, 5\)"),
    ],
)
def test_what_does_not_fit_several_inputs_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        input_arrays(two_inputs(), given)


def test_an_input_of_integers_takes_no_fractions():
    """Keras would cut them off: pixels that were divided by 255 would all be 0."""
    images = L.Input((8, 8, 3), dtype="uint8", name="photo")
    scaled = L.Flatten()(L.Rescaling(1 / 255)(images))
    model = keras.Model(images, L.Dense(6)(scaled), name="net")
    said = "the input photo holds integers, and .* has fractions, which would be cut off; give it pixels as they are"
    with pytest.raises(InputError, match=said):
        input_arrays(model, X)
    with pytest.raises(InputError, match=said):
        evaluate(model, (X, LABELS))
    pixels = np.floor(255 * X)
    np.testing.assert_array_equal(input_arrays(model, pixels)[0], pixels)
    assert evaluate(model, (pixels.astype(np.uint8), LABELS)).n == 6
