"""A trial: one training, pruning or quantization of a network, specified so fully that it has one result."""

import json
import tomllib
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    model_validator,
)

from fewbits import names, zoo
from fewbits.backend import keras, ops
from fewbits.data import NAMES, Dataset, load, load_own
from fewbits.data.sources import FOLDS
from fewbits.errors import InputError
from fewbits.experiment.contents import content_of, is_marked, marked, named_path, unchanged_path
from fewbits.experiment.fields import FLOAT, Bits, BitsOrFloat, checked_percentile, known, naming, one_sentence, unknown
from fewbits.graph import Graph
from fewbits.io.files import read_model
from fewbits.io.weights import assign_weights, filters_in, load_weights, variables
from fewbits.pruning import shrunk_to
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import quantize_model
from fewbits.training import schedules
from fewbits.training.batches import check_images
from fewbits.training.distillation import Distillation
from fewbits.training.heads import head_of
from fewbits.training.moving_statistics import normalizations
from fewbits.training.transfer import take_levels
from fewbits.zoo.trained import find_weights

PRUNE = "prune"
TRIAL_STRATEGIES = (FLOAT, PRUNE, *names.STRATEGIES)
OF_THE_DATA = ("fold", "channel_order", "mean_pixel", "scale")  # and what else it takes if its data are the same
# What a start takes from its trial unless it has its own.
SHARED = ("network", "duplicate_shared", "data", "width", "size")
LIGHT = "light"  # the augmentation that also changes brightness and contrast
PURPOSES = ("quick", "reference")  # what a result is for
DEVICE_BITS = 8  # the widest codes that every integer program can multiply
MOST_TRIALS = 10_000  # in a file; more is probably a mistake
MOST = 100_000  # epochs, or images in a batch


def _start(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = Trial(**value)
    if isinstance(value, Trial) and value.strategy not in (FLOAT, PRUNE):
        raise InputError(f"strategy must be {FLOAT} or {PRUNE}, not {value.strategy!r}")
    if not isinstance(value, Trial | str | None):
        raise ValueError(f"must be the fields of a float trial or the name of weights, not {value!r}")
    return value


def _fold(value: int, info: ValidationInfo) -> int:
    data = info.data.get("data")  # None if it was refused itself
    folds = FOLDS.get(data or "", 1)
    if data and value >= folds:
        raise ValueError(f"must be from 0 to {folds - 1}, those of {data}, not {value}")
    return value


def _network(value: str) -> str:
    if value in zoo.NAMES:
        return value
    if not is_marked(value) and not value.endswith(".keras"):
        raise ValueError(f"{unknown(value, zoo.NAMES)}, or the path of a .keras file")
    return _of_content(value)


def _data(value: str) -> str:
    if value in NAMES:
        return value
    if not is_marked(value) and not value.endswith(".npz") and not Path(value).is_dir():
        raise ValueError(f"{unknown(value, NAMES)}, or the path of an .npz file or of a folder of images")
    return _of_content(value)


def _of_content(path: str) -> str:
    try:
        return marked(path)
    except InputError as error:
        raise ValueError(f"names a file that cannot be used: {error}") from None


def _order(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if value not in names.LEVEL_ORDERS:
            raise ValueError(unknown(value, names.LEVEL_ORDERS))
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"must be one of {', '.join(names.LEVEL_ORDERS)} or a list of levels, not {value!r}")
    return tuple(value)


def _augmentation(value: Any) -> bool | str:
    if not isinstance(value, bool) and value != LIGHT:
        raise ValueError(f"must be true, false or {LIGHT!r}, not {value!r}")
    return value


class Trial(BaseModel):
    """One training of a float network, one pruning, or one way of quantizing it; trials with equal fields are equal.

    Attributes:
        network: One of `zoo.NAMES`, or the path of a .keras file, from whose weights the trial begins.
        duplicate_shared: As in `quantize_model`, for the network of a file. The trial begins with a layer for each use
            of a shared one, and training changes each of them.
        data: One of `data.NAMES`, or the path of a folder of images or of an .npz file, as in `data.load_own`. The key
            of a trial depends on the content of a file or folder, not on its path.
        fold: Which fold of the data is tested, as in `data.load`.
        width: Multiplies the filters of a network that has this option.
        size: Side of the images in pixels; None for their own (chiang2017, 4.3.3), or, of a folder, for that which the
            network of a file takes.
        channel_order: As `order` in `data.load_own`, for images of the user's own.
        mean_pixel: As in `data.load_own`.
        scale: As in `data.load_own`.
        images: Number of training images, drawn with a fixed seed and stratified by class; None for all.
        seed: Draws initial weights and the order of the images.
        profile: What the result is for, "quick" or "reference".
        strategy: "float", "prune" or one of `names.STRATEGIES`.
        start: Where weights come from: a float Trial or a pruning, which runs first, or the name of trained weights, as
            in `zoo.find_weights`; None for the weights in the file of a network. A mapping is a Trial that takes
            network, duplicate_shared, data, fold, width and size from this one unless it has its own, and fold, channel
            order, mean and scale only if the data are the same. A quantized or pruned network takes all weights from
            its start, a float network those of its first `transfer` levels.
        transfer: How many levels a float trial takes from its start, as in `training.take_levels`.
        freeze: Do not train these levels (backstrom2018, 2.4).
        epochs: Of the whole training, or of each stage of a schedule; 0 for the strategies "static" and "prune".
        optimizer: One of `names.OPTIMIZERS`.
        learning_rate: Where the learning rate starts.
        decay: Of the learning rate, as in `training.decaying_rate`.
        weight_decay: Of a float trial, as in `training.prepare`.
        momentum: Share of the old moving means and variances of batch normalization that each step of a float trial
            keeps; None for that of the network. They are tested with, and do not enter the training.
        reestimate: Set the means and variances of batch normalization to those of training images, at most
            `STATISTICS_IMAGES` of them, as in `training.reestimate_normalization`: after the training of a float trial,
            and before a quantized trial folds them.
        batch_size: Images per step.
        augment: True shifts and mirrors training images; "light" also changes brightness and contrast.
        ratio: Share of the filters that a pruning removes, as in `pruning.Plan`.
        per_step: Filters that a pruning removes in each step.
        criterion: Which filters a pruning removes, one of `names.CRITERIA`.
        train_images: As `images` in `pruning.Plan`.
        bits: Of kernel, input and output of a quantized trial; None, or "float", for float.
        rounding: One of `names.LAYER_ROUNDINGS`.
        gradient: One of `names.GRADIENTS`.
        ranges: One of `names.RANGES`: whether MSBs are trained, as in `training.progressive_quantization`.
        percentile: The range rule, as in `quantization.Calibration`.
        per_layer: As in `quantization.Calibration`.
        per_channel: As in `quantization.Calibration`.
        recalibrate: As in `quantization.Calibration`.
        signed: Whether all formats are signed, as in 2017; False gives an unsigned one to inputs and outputs that are
            never negative, as in `quantization.Calibration`.
        distill: The share of the float network that the trial starts from in the loss, as `share` in
            `training.Distillation`; 0 for labels alone.
        temperature: As in `training.Distillation`.
        reconstruct: Steps per block with which training images restore the outputs of the float network before labels
            train it, as in `post_training.reconstructed_start`; 0 for none. Of the strategy all-at-once.
        order: Of the levels, as in `training.Schedule`.
        relax: As in `training.Schedule`.
        edge_bits: As in `training.Schedule`.
        integers: Compute the test images also with integers of at most 8 bits, in three programs, and count the codes
            that differ.

    Raises:
        InputError: when a field is missing, unknown or out of range, or two fields do not fit; the message names it.

    Example:
        >>> trial = Trial(network="lenet", data="digits", epochs=1)
        >>> trial.key
        '549a1368b1770250'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    network: Annotated[str, AfterValidator(_network)]
    duplicate_shared: bool = False
    data: Annotated[str, AfterValidator(_data)]
    fold: Annotated[int, Field(ge=0), AfterValidator(_fold)] = 0
    width: float = Field(1.0, gt=0, le=100, allow_inf_nan=False)
    size: int | None = Field(None, ge=1, le=MOST)
    channel_order: Annotated[str, known(names.CHANNEL_ORDERS)] | None = None
    mean_pixel: Annotated[tuple[float, ...], Strict(False)] | None = None
    scale: float | None = Field(None, allow_inf_nan=False)
    images: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    profile: Annotated[str, known(PURPOSES)] = "quick"
    strategy: Annotated[str, known(TRIAL_STRATEGIES)] = FLOAT
    start: Annotated["Trial | str | None", BeforeValidator(_start)] = None
    transfer: int | None = Field(None, ge=0)
    freeze: bool = False
    epochs: int = Field(0, ge=0, le=MOST)
    optimizer: Annotated[str, known(names.OPTIMIZERS)] = "sgd"
    learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False)
    decay: Annotated[str, known(names.DECAYS)] = "constant"
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    momentum: float | None = Field(None, ge=0, lt=1)
    reestimate: bool = False
    batch_size: int = Field(32, ge=1, le=MOST)
    augment: Annotated[bool | str, BeforeValidator(_augmentation)] = False
    ratio: float | None = Field(None, gt=0, lt=1)
    per_step: int = Field(128, ge=1)
    criterion: Annotated[str, known(names.CRITERIA)] = "combined"
    train_images: Annotated[tuple[int, int], Strict(False)] = (3_200, 48_000)
    bits: Annotated[tuple[BitsOrFloat, BitsOrFloat, BitsOrFloat], Strict(False)] | None = None
    rounding: Annotated[str, known(names.LAYER_ROUNDINGS)] = "nearest"
    gradient: Annotated[str, known(names.GRADIENTS)] = "clipped"
    ranges: Annotated[str, known(names.RANGES)] = "fixed"
    percentile: Annotated[float | str | tuple, BeforeValidator(checked_percentile)] = 99.9
    per_layer: bool = True
    per_channel: bool = False
    recalibrate: bool = False
    signed: bool = True
    reconstruct: int = Field(0, ge=0, le=MOST)
    distill: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(Distillation.temperature, gt=0, allow_inf_nan=False)
    order: Annotated[str | tuple, BeforeValidator(_order)] = "input"
    relax: bool = False
    edge_bits: Bits | None = None
    integers: bool = False

    def __init__(self, /, **fields: Any):
        if isinstance(fields.get("start"), Mapping):
            start = {k: fields[k] for k in SHARED if k in fields} | fields["start"]
            if start.get("data") == fields.get("data"):
                start = {k: fields[k] for k in OF_THE_DATA if k in fields} | start
            fields["start"] = start
        with one_sentence(type(self)):
            super().__init__(**fields)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if isinstance(self.start, Trial) and self.start.data == self.data and self.start.fold != self.fold:
            raise InputError(
                f"start.fold must be {self.fold}, not {self.start.fold}; it was trained on images that are tested here"
            )
        if self.strategy == FLOAT:
            self._check_transfer()
        else:
            for name in ("start", "ratio" if self.strategy == PRUNE else "bits"):
                if getattr(self, name) is None and not (name == "start" and is_marked(self.network)):
                    raise InputError(f"{name} is missing; the strategy {self.strategy} needs it")
            self._refuse_fields_of("float", ("weight_decay", "momentum", "transfer", "freeze"))
        if self.strategy != PRUNE:
            self._refuse_fields_of("pruning", PRUNING)
        if self.strategy == PRUNE and self.reestimate:
            raise InputError("reestimate is for float and quantized trials, and a pruning does it itself; leave it out")
        if self.strategy in (FLOAT, PRUNE):
            self._refuse_fields_of("quantized", QUANTIZATION)
        self._check_learning()
        self._check_own_images()
        if self.per_channel and not self.per_layer:
            raise InputError("per_channel sets an MSB per filter, and per_layer = false one for all layers; choose one")
        if self.integers and any(
            bits is None or bits > DEVICE_BITS for bits in (*(self.bits or ()), self.edge_bits or 1)
        ):
            raise InputError(f"integers needs at most {DEVICE_BITS} bits for kernel, input and output; leave it out")
        if self.strategy in ("static", PRUNE) and self.epochs:
            what = "trains nothing" if self.strategy == "static" else "counts images, in train_images"
            raise InputError(f"epochs must be 0, not {self.epochs}; the strategy {self.strategy} {what}")
        if self.strategy not in ("static", PRUNE) and "epochs" not in self.model_fields_set:
            raise InputError("epochs is missing")
        return self

    def _refuse_fields_of(self, kind: str, fields: tuple[str, ...]) -> None:
        for name in fields:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise InputError(f"{name} is for {kind} trials; leave it out")

    def _check_learning(self) -> None:
        for name, asked in (("distill", self.distill), ("ranges", self.ranges != "fixed")):
            if asked and self.strategy == "static":
                raise InputError(f"{name} is for training, and the strategy static trains nothing; leave it out")
        if self.reconstruct and self.strategy != "all-at-once":
            raise InputError("reconstruct begins the strategy all-at-once; leave it out, or choose this strategy")
        if not self.distill and self.temperature != Distillation.temperature:
            raise InputError("temperature is of a distillation, and distill is 0; leave it out")

    def _check_own_images(self) -> None:
        for name in ("channel_order", "mean_pixel", "scale"):
            if getattr(self, name) is not None and not is_marked(self.data):
                raise InputError(f"{name} is for images of your own, and {self.data} has its pixels; leave it out")
        if self.integers and not (self.mean_pixel is None and self.scale is None):
            raise InputError("integers compute with the pixels themselves; leave out mean_pixel and scale")
        if is_marked(self.network) and self.width != 1:
            raise InputError("width is for networks of the zoo; leave it out")
        if self.duplicate_shared and not is_marked(self.network):
            raise InputError(
                f"duplicate_shared is for networks of files, and {self.network} shares no layer; leave it out"
            )

    def _check_transfer(self) -> None:
        if self.start is None and self.transfer is not None:
            raise InputError("start is missing; transfer needs one to take levels from")
        if self.start is not None and self.transfer is None:
            raise InputError("transfer is missing; say how many levels a float trial takes from its start")
        if self.freeze and not self.transfer:
            raise InputError("freeze keeps the levels that transfer takes, and it takes none; leave it out")

    @property
    def key(self) -> str:
        """The name of the record in a store: the first 16 hexadecimal digits of the SHA-256 of the fields.

        A field at its default does not count, so that a new field leaves the keys of older records as they are. Of a
        file or folder the content counts, not the path.
        """
        fields = _without_paths(self.model_dump(mode="json", exclude_defaults=True))
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """A description in a few words."""
        bits = [] if self.bits is None else ["-".join("float" if b is None else str(b) for b in self.bits)]
        fold = ["fold", str(self.fold)] if self.fold else []
        taken = [] if self.transfer is None else ["frozen" if self.freeze else "transfer", str(self.transfer)]
        pruned = [] if self.ratio is None else [f"{self.ratio:.0%}", self.criterion]
        network, data = (named_path(x).stem if is_marked(x) else x for x in (self.network, self.data))
        more = [*taken, *pruned, *bits, *self.settings]
        return " ".join([network, data, *fold, self.strategy, *more, "seed", str(self.seed)])

    @property
    def settings(self) -> list[str]:
        """What it does other than by default with formats and statistics, in a few words for each field of TOLD."""
        default = {name: field.default for name, field in type(self).model_fields.items()}
        return [words.format(value) for name, words in TOLD.items() if (value := getattr(self, name)) != default[name]]


def _without_paths(fields: dict[str, Any]) -> dict[str, Any]:
    found = {name: content_of(fields[name]) for name in ("network", "data")}
    start = fields.get("start")
    return fields | found | ({"start": _without_paths(start)} if isinstance(start, dict) else {})


PRUNING = ("ratio", "per_step", "criterion", "train_images")
QUANTIZATION = (
    "bits",
    "rounding",
    "gradient",
    "ranges",
    "percentile",
    "per_layer",
    "per_channel",
    "recalibrate",
    "signed",
    "reconstruct",
    "distill",
    "temperature",
    "order",
    "relax",
    "edge_bits",
    "integers",
)
TOLD = {  # field -> how a value other than its default reads
    "duplicate_shared": "shared layers duplicated",
    "reestimate": "statistics re-estimated",
    "edge_bits": "edges at {}",
    "rounding": "rounded by {}",
    "gradient": "gradient {}",
    "percentile": "range {}",
    "per_layer": "one MSB for all",
    "per_channel": "one MSB per filter",
    "recalibrate": "recalibrated",
    "signed": "unsigned",
    "ranges": "ranges {}",
    "reconstruct": "reconstructed in {} steps",
    "distill": "distilled {:g}",
    "temperature": "temperature {:g}",
    "order": "order {}",
    "relax": "relaxed",
    "integers": "in integers",
}


def load_images(data: str, size: int | None, fold: int, **own: Any) -> Dataset:
    """Return the data set of a trial.

    Args:
        data: One of `data.NAMES`, or a path that is marked with its content.
        size: Side of the images in pixels; None for their own.
        fold: Which fold is tested.
        **own: Further arguments of `data.load_own`.
    """
    if is_marked(data):
        return load_own(unchanged_path(data), size=size, **own)
    dataset = load(data, fold=fold)
    return dataset if size is None else dataset.resized(size)


def own_images(trial: Trial) -> dict[str, Any]:
    """Return the further arguments of `load_images` for a trial: none if its data are not the user's own."""
    if not is_marked(trial.data):
        return {}
    own = {"order": trial.channel_order, "mean_pixel": trial.mean_pixel, "scale": trial.scale}
    return own | (_ends_of(trial.network) if is_marked(trial.network) else {})


@lru_cache(maxsize=64)
def _ends_of(network: str) -> dict[str, Any]:
    """Return the shape of the images and the number of classes of the network of a file."""
    model = read_model(unchanged_path(network))
    return {"shape": tuple(Graph(model).inputs[0].shape[1:]), "classes": head_of(model).classes}


def levels_of(trial: Trial, network: keras.Model) -> list[list[str]] | None:
    """Return the levels in which the network of a trial is quantized: None, one layer per level, for that of a file.

    Args:
        trial: The trial.
        network: Its network.
    """
    return None if is_marked(trial.network) else zoo.levels(network)


def build_network(
    network: str, image_shape: tuple[int, int, int], classes: int, width: float, duplicate_shared: bool = False
) -> keras.Model:
    """Return the network of a trial, with new weights or those of its file.

    Args:
        network: One of `zoo.NAMES`, or the path of a .keras file that is marked with its content.
        image_shape: Height, width and channels.
        classes: Number of classes.
        width: Multiplies the filters; other than 1 only for a network that has this option.
        duplicate_shared: As in `quantize_model`, for the network of a file.

    Raises:
        InputError: when the network cannot be built or read, or does not fit images and classes.
    """
    if is_marked(network):
        path = unchanged_path(network)
        model = canonical(read_model(path), duplicate_shared=duplicate_shared)
        check_images(model, image_shape, "the images")
        head_of(model).check_classes(classes, str(path))
        return model
    if width == 1:
        return zoo.build(network, image_shape, classes)
    return zoo.build(network, image_shape, classes, width=width)


def pruning_before(trial: Trial) -> Trial | None:
    """Return the nearest pruning in the chain of starts of `trial`; None if there is none."""
    start = trial.start
    if not isinstance(start, Trial):
        return None
    return start if start.strategy == PRUNE else pruning_before(start)


def begin(trial: Trial, network: keras.Model, source: keras.Model | Path) -> keras.Model:
    """Return the network that a trial begins with.

    Args:
        trial: The trial, which has a start.
        network: Its network with new weights.
        source: The network or the weights that it starts from.

    Returns:
        `network` with the levels that the trial takes from its start: the first `transfer`, or all. If the start was
        pruned, it has as many filters as are left there.
    """
    if pruning_before(trial) and isinstance(source, Path):
        network = shrunk_to(network, filters_in(source, network))
    if trial.transfer is None and is_marked(trial.network):
        _take_all(network, source)
        return network
    levels = len(zoo.levels(network)) if trial.transfer is None else trial.transfer
    take_levels(network, source, levels)
    return network


def _take_all(network: keras.Model, source: keras.Model | Path) -> None:
    if isinstance(source, Path):
        load_weights(network, source)
        return
    given = variables(source)
    lacking = [name for name in variables(network) if name not in given]
    if lacking:
        raise InputError(f"{source.name} has no {lacking[0]}, so {network.name} cannot start from it")
    assign_weights(network, {name: ops.convert_to_numpy(given[name]) for name in variables(network)}, source.name)


class Checker:
    """Refuses trials that this machine cannot run before anything is trained; reads each data set once."""

    def __init__(self) -> None:
        self._datasets: dict[tuple, Dataset] = {}
        self._networks: dict[tuple, keras.Model] = {}

    def __call__(self, trial: Trial) -> keras.Model:
        """Check a trial.

        Returns:
            A network like that of the trial, with arbitrary weights.

        Raises:
            InputError: when data or weights are missing or do not fit, or levels are unknown; the message names the
                field.
        """
        with naming("data: "):
            dataset = self._once(self._datasets, load_images, trial.data, trial.size, trial.fold, **own_images(trial))
        if trial.images is not None and trial.images > len(dataset.train):
            raise InputError(f"images must be at most {len(dataset.train)}, all of {trial.data}, not {trial.images}")
        with naming("network: "):
            shape = dataset.image_shape, len(dataset.classes)
            arguments = trial.network, *shape, trial.width, trial.duplicate_shared
            network = self._once(self._networks, build_network, *arguments)
        for field, asked in (("momentum", trial.momentum is not None), ("reestimate", trial.reestimate)):
            if asked and not normalizations(network):
                raise InputError(f"{field} is of batch normalization, and {network.name} has none; leave it out")
        if trial.start is not None:
            source = self._start(trial.start)
            with naming("start: " if trial.transfer is None else "transfer: "):
                begin(trial, network, source)
        if isinstance(trial.order, tuple):
            levels = quantize_model(network, levels=levels_of(trial, network), fold_batch_normalization=True)
            _check_order(trial.order, list(schedules.level_names(levels)))
        return network

    def _start(self, start: "Trial | str") -> keras.Model | Path:
        if isinstance(start, Trial):
            with naming("start."):
                return self(start)
        with naming("start: "):
            return find_weights(start)

    def _once(self, known: dict[tuple, Any], make: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        key = (*arguments, *more.items())
        if key not in known:
            known[key] = make(*arguments, **more)
        return known[key]


def _check_order(order: tuple[str, ...], levels: list[str]) -> None:
    for i, name in enumerate(order):
        if name not in levels:
            raise InputError(f"order.{i} {unknown(name, levels)}")
    if sorted(order) != sorted(levels):
        wrong = next(name for name in levels if order.count(name) != 1)
        raise InputError(f"order must name each level once, and {wrong} is there {order.count(wrong)} times")


# Grids


class Grid(NamedTuple):
    """All combinations of some values, written as one table of a file.

    Attributes:
        name: Of the grid.
        priority: Whether to run it first.
        trials: Trials, or Schemes if `read_grid` was asked for them.
    """

    name: str
    priority: bool
    trials: list[Any]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    priority: bool = False
    fixed: dict[str, Any] = {}
    vary: dict[str, Annotated[list, Field(min_length=1)]] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    common: dict[str, Any] = {}
    grid: list[_Table] = Field(min_length=1)


def read_grid(path: Path | str, kind: type = Trial) -> list[Grid]:
    """Return the grids of a TOML file.

    The table `common` holds fields of all trials. Each table `[[grid]]` has a `name`, optionally `priority = true`, and
    two tables: `fixed` holds further fields, and `vary` lists of values. There is a trial for each combination.

    Args:
        path: The file.
        kind: What a combination is, Trial or Scheme.

    Raises:
        InputError: when the file is missing or garbled, or asks for a trial that cannot be; the message names file,
            grid, trial and field.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); it must be a TOML file") from None
    with naming(f"{path}: "), one_sentence(_File, _Table):
        file = _File(**content)
        titles = [table.name for table in file.grid]
        for table in file.grid:
            if titles.count(table.name) > 1:
                raise InputError(f"two grids are called {table.name!r}; give each its own name")
        if sum(prod(map(len, table.vary.values())) for table in file.grid) > MOST_TRIALS:
            raise InputError(f"it asks for more than {MOST_TRIALS:,} trials; vary fewer fields at once")
        return [Grid(table.name, table.priority, _combined(kind, table, file.common)) for table in file.grid]


def _combined(kind: type, table: _Table, common: dict[str, Any]) -> list[Any]:
    trials = []
    for number, values in enumerate(product(*table.vary.values()), 1):
        with naming(f"grid {table.name!r}, trial {number}: "):
            trials.append(kind(**common | table.fixed | dict(zip(table.vary, values))))
    return trials
