"""Trials on networks and images of one's own: known by what their files hold, run and stored like any other."""

import json
import shutil

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.data import load_own
from fewbits.experiment import Store, Trial, run_trial
from fewbits.experiment.contents import marked
from fewbits.experiment.trial import Checker, build_network, load_images, own_images
from fewbits.training.evaluation import evaluate
from helpers.cli import refused

L = keras.layers
RNG = np.random.default_rng(0)
TRAINED = {"epochs": 30, "optimizer": "adam", "learning_rate": 0.01}
LABELS = np.arange(60) % 3
CODES = (RNG.integers(0, 60, (60, 9, 7)) + 80 * LABELS[:, None, None]).astype(np.uint8)


def network(path, classes=3, shape=(9, 7, 1), seed=0):
    """Write a network with a nested model and softmax."""
    keras.utils.set_random_seed(seed)
    inside = keras.Sequential([L.Input(shape), L.Conv2D(4, 3, name="conv"), L.ReLU()], name="block")
    images = L.Input(shape)
    model = keras.Model(
        images, L.Dense(classes, activation="softmax", name="out")(L.Flatten()(inside(images))), name="n"
    )
    model.save(path)
    return str(path)


def arrays(path, **options):
    np.savez(path, **({"images": CODES, "labels": LABELS} | options))
    return str(path)


def folder(path):
    image = pytest.importorskip("PIL.Image")
    for i, (code, label) in enumerate(zip(CODES, LABELS)):
        (path / f"class {label}").mkdir(parents=True, exist_ok=True)
        image.fromarray(code).save(path / f"class {label}" / f"{i:02}.png")
    (path / ".hidden").write_text("not read")
    return str(path)


def trial(network, data, **fields):
    return Trial(**{"network": network, "data": data, "epochs": 0} | fields)


# The key


def test_keys_of_trials_without_files_are_as_ever():
    assert Trial(network="lenet", data="digits", epochs=1).key == "549a1368b1770250"


def test_a_file_is_known_by_its_content(tmp_path):
    net, data = network(tmp_path / "net.keras"), arrays(tmp_path / "mine.npz")
    one = trial(net, data)
    copies = [shutil.copy(net, tmp_path / "copy.keras"), shutil.copy(data, tmp_path / "copy.npz")]
    assert trial(*map(str, copies)).key == one.key and trial(net, data).key == one.key
    assert Trial(**json.loads(one.model_dump_json())) == one, "a record is read where its files are gone"
    shutil.rmtree(tmp_path)
    assert Trial(**one.model_dump()).key == one.key
    tmp_path.mkdir()
    others = trial(network(tmp_path / "net.keras", seed=1), arrays(tmp_path / "mine.npz"))
    assert others.key != one.key
    assert trial(net, arrays(tmp_path / "mine.npz", labels=LABELS[::-1])).key != others.key


def test_a_folder_is_known_by_its_names_and_contents(tmp_path):
    photos = folder(tmp_path / "photos")
    mark = marked(photos)
    shutil.copytree(photos, tmp_path / "moved")
    assert marked(str(tmp_path / "moved"))[-32:] == mark[-32:]
    (tmp_path / "photos" / ".more").write_text("hidden files are not read")
    assert marked(photos) == mark == marked(mark)
    file = tmp_path / "photos" / "class 0" / "00.png"
    before = file.read_bytes()
    file.write_bytes(before + b"\0")
    assert marked(photos) != mark
    file.write_bytes(before)
    assert marked(photos) == mark
    file.rename(file.with_name("0.png"))
    assert marked(photos) != mark


def test_the_start_of_a_trial_takes_its_files(tmp_path):
    net, data = network(tmp_path / "net.keras"), folder(tmp_path / "photos")
    one = trial(net, data, strategy="lock", bits=(4, 4, 4), epochs=1, mean_pixel=[9], start={"epochs": 2})
    assert one.start.network == one.network and one.start.data == one.data and one.start.mean_pixel == (9.0,)
    assert one.name.startswith("net photos lock 4-4-4") and str(tmp_path) not in one.name
    other = trial(net, data, strategy="lock", bits=(4, 4, 4), epochs=1, mean_pixel=[9], start={"epochs": 3})
    assert other.key != one.key


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"network": "none.keras"},
            "network names a file that cannot be used: none.keras cannot be read (No such file",
        ),
        ({"network": "lennet"}, "network 'lennet' is unknown, perhaps 'lenet'; it is one of basicnet"),
        ({"network": "net.h5"}, "network 'net.h5' is unknown; it is one of"),
        ({"data": "none.npz"}, "data names a file that cannot be used: none.npz cannot be read (No such file"),
        ({"data": "no/such"}, "data 'no/such' is unknown; it is one of digits"),
        ({"width": 0.5}, "width is for networks of the zoo; leave it out"),
        (
            {"network": "lenet", "duplicate_shared": True},
            "duplicate_shared is for networks of files, and lenet shares no layer; leave it out",
        ),
        ({"data": "digits", "scale": 2.0}, "scale is for images of your own, and digits has its pixels; leave it out"),
        ({"fold": 1}, "fold must be from 0 to 0"),
        (
            {"scale": 2.0, "strategy": "static", "bits": (8, 8, 8), "integers": True},
            "integers compute with the pixels themselves; leave out mean_pixel and scale",
        ),
        (
            {"network": "lenet", "strategy": "static", "bits": (8, 8, 8)},
            "start is missing; the strategy static needs it",
        ),
    ],
)
def test_what_a_trial_cannot_name_is_refused(fields, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.keras")
    with pytest.raises(InputError) as error:
        trial(**{"network": "net.keras", "data": arrays(tmp_path / "mine.npz")} | fields)
    assert said in str(error.value) and "\n" not in str(error.value)


# The images


def test_images_of_a_folder_and_of_a_file_are_the_same(tmp_path):
    net = network(tmp_path / "net.keras")
    from_folder, from_file = (
        load_images(one.data, one.size, one.fold, **own_images(one))
        for one in (trial(net, folder(tmp_path / "photos")), trial(net, arrays(tmp_path / "mine.npz")))
    )
    for dataset in (from_folder, from_file):
        assert dataset.image_shape == (9, 7, 1) and dataset.levels == 256
        assert [len(getattr(dataset, part)) for part in ("train", "validation", "test")] == [42, 6, 12]
        everything = np.concatenate([dataset.train.images, dataset.validation.images, dataset.test.images])
        assert sorted(x.tobytes() for x in everything) == sorted(x.tobytes() for x in CODES)
        assert np.array_equal(dataset.scaled(dataset.test), dataset.test.images / np.float32(256))
    assert from_folder.classes == ("class 0", "class 1", "class 2") and from_file.classes == ("0", "1", "2")


def test_pixels_are_prepared_as_a_trial_says(tmp_path):
    data = arrays(tmp_path / "mine.npz", images=np.stack([CODES, CODES // 2, CODES // 3], -1))
    dataset = load_own(data, order="bgr", mean_pixel=(1, 2, 3), scale=0.5)
    blue = dataset.test.images[..., 0].astype(np.float32)
    assert np.array_equal(dataset.scaled(dataset.test)[..., 0], (blue - 1) * np.float32(0.5))
    assert (dataset.test.images[..., 2] >= dataset.test.images[..., 0]).all()
    floats = load_own(arrays(tmp_path / "mine.npz", images=CODES / 7.0))
    assert floats.levels == 1 and np.isin(floats.scaled(floats.test), (CODES / 7.0).astype(np.float32)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: folder(p / "photos"), "size is missing; the images of .* have none in common"),
        (
            lambda p: arrays(p / "a.npz", labels=np.stack([LABELS > 0] * 2, 1)),
            "a.npz gives images several labels; a data",
        ),
        (
            lambda p: arrays(p / "a.npz", images=CODES[:3], labels=LABELS[:3]),
            "has a single image per class; none can be",
        ),
    ],
)
def test_images_that_cannot_be_used_are_refused(make, said, tmp_path):
    with pytest.raises(InputError, match=said):
        load_own(make(tmp_path))


def test_a_file_that_changed_after_the_trial_was_made_is_refused(tmp_path):
    one = trial(network(tmp_path / "net.keras"), arrays(tmp_path / "mine.npz"))
    network(tmp_path / "net.keras", seed=2)
    with pytest.raises(InputError, match="net.keras has changed since the trial was made; run the sweep again"):
        Checker()(one)
    (tmp_path / "net.keras").unlink()
    with pytest.raises(InputError, match="net.keras cannot be read"):
        build_network(one.network, (9, 7, 1), 3, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 4}, "has 4 classes, and the data has 3"),
        ({"shape": (8, 7, 1)}, "takes images of 8 x 7 x 1, and the images are 9 x 7 x 1"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_runs(options, said, tmp_path):
    data = arrays(tmp_path / "mine.npz", classes=["a", "b", "c"])
    with pytest.raises(InputError, match=said):
        Checker()(trial(network(tmp_path / "net.keras", **options), data))


# Runs


def test_a_network_of_a_file_is_evaluated_trained_pruned_and_quantized(tmp_path):
    net, data = network(tmp_path / "net.keras"), arrays(tmp_path / "mine.npz")
    store, trained = Store(tmp_path / "store"), trial(net, data, **TRAINED)
    as_it_is, _ = run_trial(trial(net, data))
    dataset = load_own(data, shape=(9, 7, 1))
    model = keras.saving.load_model(net)
    expected = evaluate(model, dataset.arrays("test"))
    assert as_it_is.results.test.hits == expected.hits and as_it_is.results.test.loss == pytest.approx(
        expected.loss, rel=1e-2
    )
    record, weights = run_trial(trained)
    assert record.results.test.loss < as_it_is.results.test.loss
    for fields in ({"strategy": "static", "bits": (8, 8, 8)}, {"strategy": "lock", "bits": (6, 8, 8), "epochs": 1}):
        alone, _ = run_trial(trial(net, data, **fields))
        assert alone.results.float_test.hits == expected.hits
        after, _ = run_trial(trial(net, data, **fields, start=trained), weights)
        assert after.results.float_test == record.results.test
    pruned, _ = run_trial(
        trial(net, data, strategy="prune", ratio=0.5, per_step=2, train_images=(40, 40), start=trained), weights
    )
    assert pruned.results.pruned == "goal"
    assert pruned.results.parameters < as_it_is.results.parameters
    store.save(record, weights)
    moved = shutil.copy(net, tmp_path / "moved.keras")
    assert store.load(trial(str(moved), data, **TRAINED)) == record


def test_a_sweep_of_files_and_folders_is_run_once(tmp_path, capsys):
    network(tmp_path / "net.keras"), folder(tmp_path / "photos"), arrays(tmp_path / "mine.npz")
    file = tmp_path / "trials.toml"
    file.write_text(
        f'[common]\nnetwork = "{tmp_path}/net.keras"\nepochs = 1\n[[grid]]\nname = "floats"\n'
        f'vary = {{ data = ["{tmp_path}/photos", "{tmp_path}/mine.npz"] }}\n[[grid]]\nname = "few bits"\n'
        f'fixed = {{ data = "{tmp_path}/photos", strategy = "static", epochs = 0, bits = [8, 8, 8] }}\n'
    )
    command = ["sweep", str(file), "--store", str(tmp_path / "store")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "trial 3 of 3" in said and "net photos float seed 0" in said and "net mine float seed 0" in said
    assert main([*command, "--list"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 of 3 trials are kept") and "not run" not in said
    file.write_text(file.read_text().replace("net.keras", "none.keras"))
    assert "grid 'floats', trial 1: network names a file that cannot be used" in refused(command, capsys)


def test_a_sweep_of_a_network_with_a_shared_layer_says_how_to_run_it(tmp_path, capsys):
    image, conv = L.Input((9, 7, 1)), L.Conv2D(1, 3, padding="same", name="conv")
    keras.Model(image, L.Dense(3, name="out")(L.Flatten()(conv(conv(image))))).save(tmp_path / "net.keras")
    fixed = f'network = "{tmp_path}/net.keras"\ndata = "{arrays(tmp_path / "mine.npz")}"\n'
    grid = '[[grid]]\nname = "8 bits"\nfixed = { strategy = "static", bits = [8, 8, 8] }\n'
    file, command = tmp_path / "trials.toml", ["sweep", str(tmp_path / "trials.toml"), "--store", str(tmp_path / "s")]
    file.write_text(f"[common]\n{fixed}{grid}")
    assert main(command) == 1
    advice = "layer conv is used 2 times; duplicate_shared=True gives each use a layer"
    assert advice in capsys.readouterr().err
    file.write_text(f"[common]\n{fixed}duplicate_shared = true\n{grid}")
    assert main(command) == 0
    [record] = Store(tmp_path / "s").records()
    kernels = {"conv": 9 + 1, "conv_2": 9 + 1, "out": 63 * 3 + 3}
    assert record.results.parameters >= sum(kernels.values()) and "shared layers duplicated" in record.trial.name


def test_the_start_of_a_trial_has_a_layer_for_each_use_too(tmp_path):
    net, data = network(tmp_path / "net.keras"), arrays(tmp_path / "mine.npz")
    fields = {"strategy": "lock", "bits": (4, 4, 4), "epochs": 1, "start": {"epochs": 2}}
    twice = trial(net, data, duplicate_shared=True, **fields)
    assert twice.start.duplicate_shared and twice.key != trial(net, data, **fields).key
