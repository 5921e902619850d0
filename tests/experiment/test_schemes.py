"""Schemes and studies: what a scheme may say, that it does what it says, and that each answer is kept."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, post_training, quantize_model, statistics
from fewbits.backend import keras, ops
from fewbits.experiment import REMEDIES, Answers, Scheme, Study, quantize_each, read_grid, run_schemes, study
from fewbits.io import files
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.dynamic_fixed_point import dynamic_formats
from fewbits.quantization.layers import Formats
from fewbits.training.evaluation import evaluate
from fewbits.training.heads import rank_of_label

L = keras.layers
RNG = np.random.default_rng(0)
CALIBRATION = RNG.uniform(0, 1, (40, 8, 8, 3)).astype("float32")
IMAGES = RNG.uniform(0, 1, (50, 8, 8, 3)).astype("float32")
LABELS = RNG.integers(0, 7, 50)
FLOAT = Scheme(bits=(None, None, None))
LOW = Scheme(bits=(3, 4, 4))
LOWER = Scheme(bits=(2, 3, 3), rounding="floor", msb=(0, 1, 2))


@pytest.fixture(scope="module")
def model():
    return network()


def network(seed=0, use_bias=True):
    keras.utils.set_random_seed(seed)
    x = images = L.Input((8, 8, 3))
    options = {"activation": "relu", "use_bias": use_bias}
    if use_bias:
        options["bias_initializer"] = keras.initializers.RandomUniform(-0.1, 0.3)
    x = L.Conv2D(6, 3, name="conv1", **options)(x)
    x = L.MaxPooling2D()(x)
    x = L.Conv2D(5, 3, padding="same", name="conv2", **options)(x)
    model = keras.Model(images, L.Dense(7, name="dense3", use_bias=use_bias)(L.Flatten()(x)))
    conv1 = model.get_layer("conv1")
    conv1.kernel.assign(
        ops.convert_to_numpy(conv1.kernel) * 2.0 ** np.arange(-3, 3)
    )  # channels of unequal range, to equalize
    return model


def refused(**fields):
    with pytest.raises(InputError) as error:
        Scheme(**{"bits": (8, 8, 8)} | fields)
    said = str(error.value)
    assert "\n" not in said and ". " not in said
    return said


# What a scheme may say


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("bits", 8, "must be a valid tuple"),
        ("bits", (8, 8), "bits.2 is missing"),
        ("bits", (8, 8, 8, 8), "at most 3 items"),
        ("bits", (8, 8, 25), "bits.2 must be at most 24, not 25"),
        ("bits", (8, 0, 8), "bits.1 must be at least 1, not 0"),
        ("bits", (8, True, 8), "bits.1 must be a valid integer"),
        ("bits", (8, "flaot", 8), "bits.1 must be a valid integer"),
        ("rounding", "up", "'up' is unknown; it is one of floor, nearest"),
        ("rounding", "stochastic", "'stochastic' is unknown"),
        ("msb", (0, 9), "msb.2 is missing"),
        ("msb", (0, 65, 0), "msb.1 must be at most 64, not 65"),
        ("msb", (0, 0.5, 0), "msb.1 must be a valid integer"),
        ("percentile", 0, "must be above 0 and at most 100"),
        ("percentile", "dynamics", "must be above 0 and at most 100, or mse or kl"),
        ("percentile", ("mse", 99), "once or three times"),
        ("percentile", ("dynamic",) * 3, "once or three times"),
        ("per_layer", 1, "must be a valid boolean"),
        ("per_channel", "yes", "must be a valid boolean"),
        ("remedies", ("equalise",), "'equalise' is unknown, perhaps 'equalize'; it is one of equalize, share formats"),
        ("remedies", "equalize", "must be a valid tuple"),
        ("layers", (), "at least 1 item"),
        ("layers", "conv1", "must be a valid tuple"),
        ("layer", ("conv1",), "is not a known field, perhaps 'layers'"),
    ],
)
def test_a_field_that_cannot_be_is_named_in_one_sentence(field, value, said):
    sentence = refused(**{field: value})
    assert sentence.startswith(field) and said in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"msb": (0, 9, 9), "percentile": 99.9}, "msb sets the MSBs, and percentile would choose them"),
        ({"msb": (0, 9, 9), "per_layer": False}, "msb sets the MSBs, and per_layer would choose them"),
        ({"per_channel": True, "per_layer": False}, "per_channel sets an MSB per filter"),
        ({"per_channel": True, "percentile": "dynamic"}, "per_channel sets an MSB per filter"),
        ({"per_layer": False, "percentile": "dynamic"}, "per_layer must be true in dynamic fixed point"),
        ({"bits": (8, 8, 6), "percentile": "dynamic"}, "bits of input and output must be equal"),
        ({"bits": (1, 8, 8), "percentile": "dynamic"}, "bits must be at least 2 in dynamic fixed point"),
        ({"remedies": ["half a step"]}, "remedies: 'half a step' is for rounding = 'floor', not 'nearest'"),
        ({"remedies": ["mid-step"], "bits": (24, 8, 8)}, "remedies: 'mid-step' takes kernels of at most 23 bits"),
        (
            {"remedies": ["learned rounding", "correct bias in order"]},
            "remedies: 'correct bias in order' compares with the float kernels, which 'learned rounding' replaces",
        ),
        ({"bits": (None, 8, 8), "kernel_shift": 0.5}, "kernel_rounding and kernel_shift need bits of the kernels"),
        ({"seed": 1}, "seed is for kernel_rounding = 'stochastic'"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, said):
    assert refused(**fields).startswith(said)


def test_a_scheme_without_bits_is_refused():
    with pytest.raises(InputError, match="^bits is missing$"):
        Scheme()


def test_schemes_that_say_the_same_are_equal_and_others_are_not():
    one = Scheme(bits=[8, 6, "float"], remedies=["equalize"], percentile=[99, 99, 99], layers=["a"])
    same = Scheme(bits=(8, 6, None), remedies=("equalize",), percentile=99.0, layers=("a",), rounding="nearest")
    assert one == same and hash(one) == hash(same) and {one: 1}[same] == 1
    fields = {
        "bits": (8, 8, 6),
        "rounding": "floor",
        "msb": (0, 9, 9),
        "percentile": "mse",
        "per_layer": False,
        "per_channel": True,
        "remedies": ("equalize",),
        "layers": ("conv1",),
        "kernel_rounding": "stochastic",
        "kernel_shift": -0.5,
        "signed": False,
    }
    assert fields.keys() | {"seed"} == Scheme.model_fields.keys()
    schemes = {Scheme(bits=(8, 8, 8)), *(Scheme(**{"bits": (8, 8, 8)} | {k: v}) for k, v in fields.items())}
    schemes.add(Scheme(bits=(8, 8, 8), kernel_rounding="stochastic", seed=1))
    assert len(schemes) == 13


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        (FLOAT, "float-float-float; nearest; 99.9 %"),
        (LOWER, "2-3-3; floor; MSB 0, 1, 2"),
        (Scheme(bits=(8, 6, 6), percentile="mse", per_layer=False), "8-6-6; nearest; mse generic"),
        (Scheme(bits=(8, 8, 8), percentile="dynamic"), "8-8-8; nearest; dynamic"),
        (Scheme(bits=(8, 8, 8), kernel_shift=-0.25), "8-8-8; nearest; 99.9 %; kernels moved by -0.25 steps"),
        (
            Scheme(bits=(8, 8, 8), kernel_rounding="stochastic", seed=3),
            "8-8-8; nearest; 99.9 %; kernels stochastic; seed 3",
        ),
        (
            Scheme(bits=(8, 8, 8), per_channel=True, remedies=["equalize", "search MSBs"], layers=["a", "b"]),
            "8-8-8; nearest; 99.9 % per channel; equalize; search MSBs; 2 layers, the last b",
        ),
    ],
)
def test_its_name_tells_it_from_others(scheme, name):
    assert scheme.name == name


def test_a_toml_file_holds_grids_of_schemes(tmp_path):
    path = tmp_path / "schemes.toml"
    path.write_text(
        '[common]\nrounding = "floor"\n[[grid]]\nname = "g"\nvary = { bits = [[8, 8, "float"], [4, 4, 4]] }'
    )
    [grid] = read_grid(path, Scheme)
    assert grid.trials == [Scheme(bits=b, rounding="floor") for b in ((8, 8, None), (4, 4, 4))]
    path.write_text('[[grid]]\nname = "g"\nvary = { bits = [[8, 8, 8], [8, 8, 99]] }')
    with pytest.raises(InputError, match="schemes.toml: grid 'g', trial 2: bits.2 must be at most 24, not 99"):
        read_grid(path, Scheme)


# What it does


RANGED = CALIBRATION[:32]
DIRECT = {
    FLOAT: lambda m: quantize_model(m, rounding="nearest"),
    LOW: lambda m: quantize_model(m, formats_for(m, RANGED, (3, 4, 4), 99.9, signed=True), rounding="nearest"),
    LOWER: lambda m: quantize_model(m, Formats(FixedPoint(0, 2), FixedPoint(1, 3), FixedPoint(2, 3)), rounding="floor"),
    Scheme(bits=(4, None, None), msb=(1, 2, 3)): lambda m: quantize_model(
        m, Formats(FixedPoint(1, 4)), rounding="nearest"
    ),
    Scheme(bits=(3, 6, 6), percentile=("mse", 100, "kl"), rounding="floor"): lambda m: quantize_model(
        m, formats_for(m, RANGED, (3, 6, 6), ("mse", 100, "kl"), rounding="floor", signed=True)
    ),
    Scheme(bits=(3, 6, None), per_layer=False): lambda m: quantize_model(
        m, formats_for(m, RANGED, (3, 6, None), 99.9, per_layer=False, signed=True), rounding="nearest"
    ),
    Scheme(bits=(4, 6, 6), percentile="mse", per_channel=True): lambda m: quantize_model(
        m, formats_for(m, RANGED, (4, 6, 6), "mse", per_channel=True, signed=True), rounding="nearest"
    ),
    Scheme(bits=(4, 5, 5), percentile="dynamic"): lambda m: quantize_model(
        m, dynamic_formats(m, RANGED, convolutions=4, dense=4, activations=5), rounding="nearest"
    ),
    Scheme(bits=(None, 5, 5), percentile="dynamic"): lambda m: quantize_model(
        m, dynamic_formats(m, RANGED, convolutions=None, dense=None, activations=5), rounding="nearest"
    ),
    Scheme(bits=(4, 6, 6), remedies=("refit kernels", "share formats", "equalize")): lambda m: (
        post_training.refit_kernels(
            post_training.share_formats(
                quantize_model(
                    post_training.equalize(m),
                    formats_for(post_training.equalize(m), RANGED, (4, 6, 6), signed=True),
                    rounding="nearest",
                )
            ),
            CALIBRATION,
        )
    ),
    Scheme(bits=(4, 6, 6), rounding="floor", remedies=("half a step", "fold mean shift", "round kernels")): lambda m: (
        post_training.add_half_a_step(
            post_training.correct_bias(
                post_training.round_kernels(
                    quantize_model(m, formats_for(m, RANGED, (4, 6, 6), rounding="floor", signed=True))
                ),
                CALIBRATION,
            )
        )
    ),
}


SOME = [LOW, LOWER, list(DIRECT)[3], list(DIRECT)[-1]]


@pytest.fixture(scope="module")
def quantized(model):
    before = model.get_weights()
    found = dict(quantize_each(model, DIRECT, CALIBRATION))
    assert all(map(np.array_equal, model.get_weights(), before))
    return found


@pytest.mark.parametrize("scheme", DIRECT, ids=lambda scheme: scheme.name)
def test_a_scheme_does_what_the_direct_calls_do(scheme, quantized, model):
    direct = DIRECT[scheme](model)
    assert quantized.keys() == DIRECT.keys()
    assert quantized[scheme].formats == direct.formats
    assert all(np.array_equal(a, b) for a, b in zip(quantized[scheme].get_weights(), direct.get_weights(), strict=True))


def test_formats_are_set_on_the_first_images_and_remedies_see_all(model):
    others = np.concatenate([RANGED, 100 * CALIBRATION[32:]])
    shifted = Scheme(bits=(3, 4, 4), remedies=["fold mean shift"])
    (_, low), (_, low_shifted) = quantize_each(model, [LOW, shifted], others)
    assert low.formats == DIRECT[LOW](model).formats
    assert np.array_equal(
        low_shifted.get_layer("dense3").bias, post_training.correct_bias(low, others).get_layer("dense3").bias
    )


def test_only_the_layers_it_names_are_quantized(model):
    [(_, network)] = quantize_each(model, [Scheme(bits=(3, 4, 4), layers=["dense3", "conv1"])], CALIBRATION)
    assert [layer.enabled for layer in network.quantized_layers] == [True, False, True]
    assert network.formats == DIRECT[LOW](model).formats


def test_a_layer_that_is_not_there_is_named_before_anything_is_quantized(model):
    schemes = [LOW, Scheme(bits=(8, 8, 8), layers=["conv1", "conv9"])]
    with pytest.raises(InputError, match="no layer 'conv9' to quantize; there are conv1, conv2, dense3"):
        next(iter(quantize_each(model, schemes, CALIBRATION)))


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_is_usable_alone_and_changes_the_network(name, model):
    plain = Scheme(bits=(4, 5, 5), rounding="floor")
    (_, before), (_, after) = quantize_each(
        model, [plain, plain.model_copy(update={"remedies": (name,)})], CALIBRATION[:8]
    )
    assert np.isfinite(after(IMAGES)).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before.get_weights(), after.get_weights(), strict=True))


# What a study keeps


RUN = {
    "model": "m",
    "data": "d",
    "commit": {"id": "0123456789", "dirty": False},
    "versions": {"keras": "3", "tensorflow": "2"},
    "hardware": {"gpu": None, "cpu": "a processor", "cores": 2},
    "seconds": 90.0,
}
TOP1 = np.array([1, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1], bool)
LOST = np.array([1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0], bool)  # three lost, one gained


@pytest.fixture
def written(tmp_path):
    made = Study(tmp_path / "study.json")
    made.images, made.runs = 11, [RUN]
    made.add(FLOAT, Answers(TOP1, TOP1 | True), 1.234)
    made.add(LOW, Answers(LOST, LOST), 5)
    return made


def test_a_study_comes_back_as_it_was_kept(written):
    read = Study.load(str(written.path))
    assert list(read) == [FLOAT, LOW] and len(read) == 2 and read.images == 11 and read.runs == [RUN]
    for scheme in read:
        assert all(map(np.array_equal, read[scheme], written[scheme])) and read[scheme].top5.dtype == bool
    assert np.array_equal(read.float.top1, TOP1) and np.array_equal(read[LOW].top1, LOST)
    assert read.seconds == {FLOAT: 1.23, LOW: 5}
    assert read.made_with == (
        "11 images, 2 schemes; a processor, 2 cores; Keras 3 on tensorflow 2; code 0123456; 2 min."
    )
    read.add(LOWER, Answers(~TOP1, TOP1), 1)
    assert list(Study.load(written.path)) == [FLOAT, LOW, LOWER]


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 2**40))
def test_answers_of_any_number_of_images_come_back(tmp_path_factory, top1, seed):
    made = Study(tmp_path_factory.getbasetemp() / "any.json")
    made.images, made.runs = len(top1), [RUN]
    top5 = np.random.default_rng(seed).integers(0, 2, len(top1)).astype(bool)
    made.add(FLOAT, Answers(np.array(top1), top5), 1)
    read = Study.load(made.path)
    assert read.float.top1.tolist() == top1 and np.array_equal(read.float.top5, top5)


def test_a_study_that_is_not_there_is_empty(tmp_path):
    empty = Study.load(tmp_path / "none.json")
    assert len(empty) == 0 and not empty and empty.made_with == "Not run yet." and FLOAT not in empty


def test_how_far_a_scheme_is_under_float_is_counted_on_the_same_images(written):
    lost = written.under_float(LOW)
    assert lost.mean == pytest.approx(2 / 11) and lost.n == 11
    assert lost.half_width == pytest.approx(1.96 * np.sqrt((4 / 11 - (2 / 11) ** 2) / 11))
    assert written.under_float(LOW, slice(0, 3)).mean == pytest.approx(1 / 3)
    assert written.under_float(LOW, np.flatnonzero(LOST)).mean == pytest.approx(-1 / 5)
    assert written.under_float(FLOAT) == statistics.Estimate(0, 0, 11)
    assert not written.under_float(Scheme(bits=(7, 7, 7)))


def test_a_scheme_gains_what_another_loses_and_nothing_without_answers(written):
    gain = written.gain(FLOAT, LOW)
    assert gain == written.under_float(LOW) and written.gain(LOW, FLOAT).mean == pytest.approx(-2 / 11)
    missing = Scheme(bits=(3, 3, 3))
    assert not written.gain(missing, LOW) and not written.gain(LOW, missing)


def test_answers_are_told_with_their_interval(written):
    low, high = statistics.wilson_interval(7, 11)
    assert str(written.float) == f"63.6% ({low:.1%} to {high:.1%})"


def damage(change):
    def damaged(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return damaged


DAMAGES = {
    "truncated": lambda text: text[:-20],
    "empty": lambda text: "",
    "a list": lambda text: "[1, 2]",
    "a number": lambda text: "3",
    "nested": lambda text: "[" * 100_000,
    "not UTF-8": lambda text: b"\xff\xfe{".decode("latin-1"),
    "no images": damage(lambda c: c.pop("images")),
    "images in words": damage(lambda c: c.update(images="many")),
    "no runs": damage(lambda c: c.pop("runs")),
    "runs without model": damage(lambda c: c["runs"][0].pop("model")),
    "no schemes": damage(lambda c: c.pop("schemes")),
    "schemes of another kind": damage(lambda c: c.update(schemes=[1])),
    "too few bits": damage(lambda c: c["schemes"][0].update(top1="ff")),
    "too many bits": damage(lambda c: c["schemes"][0].update(top5="ffffff")),
    "not hex": damage(lambda c: c["schemes"][1].update(top1="zz00")),
    "numbers": damage(lambda c: c["schemes"][1].update(top1=12)),
    "no top5": damage(lambda c: c["schemes"][1].pop("top5")),
    "no seconds": damage(lambda c: c["schemes"][1].pop("seconds")),
    "an unknown field": damage(lambda c: c["schemes"][0]["scheme"].update(colour="red")),
    "a value that cannot be": damage(lambda c: c["schemes"][0]["scheme"].update(bits=[8, 8, 99])),
    "a scheme in words": damage(lambda c: c["schemes"][0].update(scheme="8-8-8")),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_study_is_refused_by_name(kind, written):
    written.path.write_text(DAMAGES[kind](written.path.read_text()), "latin-1")
    said = f"{re.escape(str(written.path))} is damaged, or not a study; delete it, and its schemes are run again$"
    with pytest.raises(InputError, match=said):
        Study.load(written.path)


def test_a_folder_is_no_study(tmp_path):
    with pytest.raises(InputError, match="is damaged, or not a study"):
        Study.load(tmp_path)


def test_a_write_that_is_killed_leaves_the_old_file(written, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    before = written.path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        written.add(LOWER, Answers(LOST, TOP1), 1)
    assert written.path.read_bytes() == before and list(written.path.parent.iterdir()) == [written.path]


# What is run


def run(model, schemes, path, data=(IMAGES, LABELS), checksum="", progress=None):
    return run_schemes(model, schemes, CALIBRATION, data, path, checksum, progress)


@pytest.fixture(scope="module")
def fresh(model, tmp_path_factory):
    """A study of some schemes, run at once."""
    return run(model, SOME, tmp_path_factory.mktemp("fresh") / "study.json")


@pytest.mark.parametrize("scheme", [FLOAT, LOW, SOME[-1]], ids=lambda scheme: scheme.name)
def test_answers_are_those_that_evaluate_counts(scheme, fresh, quantized):
    score = evaluate(quantized[scheme], (IMAGES, LABELS))
    assert (fresh[scheme].top1.sum(), fresh[scheme].top5.sum()) == (score.hits, score.hits_top5)


def test_answers_are_those_of_each_image_in_order(fresh, quantized):
    top1 = quantized[LOW].predict_on_batch(IMAGES).argmax(1) == LABELS
    assert np.array_equal(fresh[LOW].top1, top1)
    assert 0 < fresh[LOW].top5.mean() < 1 and list(fresh)[0] == FLOAT and set(fresh) == {FLOAT, *SOME}
    assert Study.load(fresh.path)[LOW].top1.tolist() == top1.tolist()


def test_a_study_that_was_stopped_goes_on_where_it_was_in_any_order(model, fresh, tmp_path, monkeypatch):
    path, ran = tmp_path / "study.json", []

    def recorded(model, schemes, images, **options):
        ran.append(list(schemes))
        return quantize_each(model, ran[-1], images, **options)

    def stop(scheme, done, total):
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(study, "quantize_each", recorded)
    wanted = [LOWER, SOME[2], LOW, LOWER]
    with pytest.raises(KeyboardInterrupt):
        run(model, wanted, path, progress=stop)
    kept = Study.load(path)
    assert len(kept) == 2 and ran == [[FLOAT, *wanted[:3]]]
    told = []
    whole = run(model, reversed(wanted), path, progress=lambda *now: told.append(now))
    assert set(ran[1]) == {FLOAT, *wanted} - set(kept) and [t[1:] for t in told] == [(3, 4), (4, 4)]
    for scheme in whole:
        assert all(map(np.array_equal, whole[scheme], fresh[scheme]))
    assert len(whole) == 4 and len(whole.runs) == 2
    before = path.read_bytes()
    assert len(run(model, wanted, path).runs) == 2 and path.read_bytes() == before and not ran[2]


def test_answers_of_another_network_or_to_other_images_are_refused(model, tmp_path):
    path = tmp_path / "study.json"
    run(model, [], path, checksum="a")
    before = path.read_bytes()
    for other in (
        lambda: run(network(1), [LOW], path, checksum="a"),
        lambda: run(model, [LOW], path, checksum="b"),
        lambda: run(model, [LOW], path, (IMAGES[:-1], LABELS[:-1]), checksum="a"),
    ):
        with pytest.raises(InputError, match="holds answers of another network or to other images; name another file"):
            other()
    assert path.read_bytes() == before


def test_one_trace_serves_all_schemes(model, tmp_path, monkeypatch):
    traces, counts = [], []
    call = QuantizedModel.call
    monkeypatch.setattr(QuantizedModel, "call", lambda *a, **k: (traces.append(1), call(*a, **k))[1])
    run(model, SOME, tmp_path / "study.json", progress=lambda *_: counts.append(len(traces)))
    assert len(counts) == 5 and counts[0] > 0 and set(counts) == {counts[0]}


def test_a_study_may_stay_in_memory(model, fresh):
    found = run(model, [LOW], None)
    assert found.path is None and np.array_equal(found[LOW].top1, fresh[LOW].top1) and len(found.runs) == 1


def test_remedies_that_add_biases_to_some_networks_leave_those_that_come_after_right():
    bare = network(use_bias=False)
    (low, finer), by = (Scheme(bits=b, rounding="floor") for b in ((3, 4, 4), (3, 8, 8))), "fold mean shift"
    shifted, rounded = (low.model_copy(update={"remedies": (name,)}) for name in (by, "round kernels"))
    schemes = [shifted, low, finer, rounded]  # the last starts from the second
    found = run(bare, schemes, None)
    for scheme in schemes:
        [(_, alone)] = quantize_each(bare, [scheme], CALIBRATION)
        assert np.array_equal(found[scheme].top1, np.argmax(alone(IMAGES), 1) == LABELS)


def test_work_that_schemes_have_in_common_is_done_once(model, monkeypatch):
    done = []
    rounds = REMEDIES["round kernels"]
    monkeypatch.setitem(REMEDIES, "round kernels", lambda *a: (done.append(1), rounds(*a))[1])
    names = [("round kernels", "half a step"), (), ("round kernels",), ("half a step",)]
    schemes = [Scheme(bits=(4, 6, 6), rounding="floor", remedies=n) for n in names]
    together = dict(quantize_each(model, schemes, CALIBRATION))
    assert len(done) == 1
    for scheme in schemes:
        [(_, alone)] = quantize_each(model, [scheme], CALIBRATION)
        pairs = zip(together[scheme].get_weights(), alone.get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


# Counting


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_of_a_difference_is_that_of_paired_values(seed):
    rng = np.random.default_rng(seed)
    first = rng.random(400) < 0.7
    second = np.where(rng.random(400) < 0.2, rng.random(400) < 0.5, first)
    gaps = first.astype(int) - second
    difference, reach = statistics.paired_difference(first, second)
    assert difference == pytest.approx(gaps.mean())
    assert reach == pytest.approx(1.96 * gaps.std() / 20)
    drawn = gaps[rng.integers(0, 400, (4000, 400))].mean(1)
    assert np.percentile(drawn, [2.5, 97.5]) == pytest.approx([difference - reach, difference + reach], abs=0.006)
    assert statistics.paired_difference(second, first) == pytest.approx((-difference, reach))
    assert statistics.paired_difference(first, second, z=1)[1] == pytest.approx(reach / 1.96)


def test_equal_answers_have_no_difference_and_opposite_ones_no_interval():
    assert statistics.paired_difference([True, False], [True, False]) == (0, 0)
    assert statistics.paired_difference([True] * 3, [False] * 3) == (1, 0)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], []), ([True], [True, False])])
def test_answers_to_other_images_are_refused(first, second):
    with pytest.raises(InputError, match=f"same images are needed, not {len(first)} and {len(second)}"):
        statistics.paired_difference(first, second)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_rank_of_a_label_is_its_place_when_equals_keep_their_order(n, classes, seed):
    rng = np.random.default_rng(seed)
    outputs = rng.choice([-np.inf, -1, 0, 0.5, 2, np.inf], (n, classes)).astype("float32")
    labels = rng.integers(0, classes, n)
    order = np.argsort(-outputs, axis=1, kind="stable")
    assert rank_of_label(outputs, labels).tolist() == [list(row).index(label) for row, label in zip(order, labels)]


def test_a_label_is_behind_all_where_any_output_is_nan():
    outputs = np.array([[3, 1, 2], [3, np.nan, 2], [np.nan, 3, 2], [np.nan] * 3])
    assert rank_of_label(outputs, np.array([0, 0, 0, 2])).tolist() == [0, 3, 3, 3]
