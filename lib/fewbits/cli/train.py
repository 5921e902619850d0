"""`fewbits train`: a network from images."""

import sys
from pathlib import Path

from fewbits.cli.images import add_held_out, add_options, read_parts, tell_skipped
from fewbits.cli.parser import add_checkpoint, add_command, check_output
from fewbits.errors import InputError

ABOUT = """
After each epoch the training is kept in a checkpoint. Stopped by Ctrl-C, a crash or a power cut, the same command with
--resume goes on from there, and ends with the same bits as a training that never stopped.

--transfer lets the network take its first levels from one that was trained on other images. A level is what is called
the same up to the first underscore, such as conv1 or fire2. The images must be prepared as they were for that network.
"""
EXAMPLES = """
  fewbits train --network lenet --data digits --epochs 10 --output digits.keras
  fewbits train --network squeezenet_v1_1 --data photos --size 227 --order bgr --mean-pixel 104,117,123 \\
                --epochs 50 --learning-rate 0.001 --output photos.keras
  fewbits train --network squeezenet_cifar --transfer cifar10.keras --levels 9 --freeze \\
                --data plants --size 32 --by-photograph --output plants.keras
"""


def add(commands) -> None:
    command = add_command(commands, "train", run, "train a network on images", EXAMPLES, ABOUT)
    command.add_argument(
        "--network", required=True, help="a network of the zoo, such as lenet, or a .keras file to train further"
    )
    add_options(command)
    add_held_out(command)
    command.add_argument(
        "--transfer",
        metavar="FILE",
        help="take the first levels from the trained network in this .keras file, or from one of data/weights by name",
    )
    command.add_argument("--levels", type=int, help="how many levels to take (default: all but the last)")
    command.add_argument("--freeze", action="store_true", help="leave the levels taken as they are; train the others")
    command.add_argument("--epochs", type=int, default=5, help="how often to go through all images (default 5)")
    command.add_argument("--batch-size", type=int, default=32, help="images a step (default 32)")
    command.add_argument(
        "--optimizer", default="sgd", help="sgd, with Nesterov momentum 0.9 (default), adam or rmsprop"
    )
    command.add_argument("--learning-rate", type=float, default=0.01, help="default 0.01")
    command.add_argument(
        "--seed", type=int, default=0, help="draws initial weights and the order of images (default 0)"
    )
    command.add_argument("--output", type=Path, required=True, help="write the trained network to this .keras file")
    add_checkpoint(command)


def run(options) -> None:
    check_output(options.output, ".keras")
    from fewbits import training
    from fewbits.cli.progress import Bar
    from fewbits.io.files import write_model

    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    fresh = not checkpoint.exists()
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed)
    model = _network(options, train)
    taken = _take_levels(options, model)
    training.prepare(model, options.optimizer, options.learning_rate)
    print(f"{model.name}, {model.count_params():,} parameters, {train.classes} classes{taken}")
    print(f"training: {train.what}; validation: {validation.what}")
    if options.resume:
        print(f"no {checkpoint} yet; starting at epoch 1" if fresh else f"going on from {checkpoint}", flush=True)
    bar = Bar(sys.stdout)
    try:
        history = training.train(
            model,
            train.data,
            validation=validation.data,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=options.seed,
            checkpoint=checkpoint,
            resume=options.resume,
            progress=bar,
        )
        for layer in model.layers:
            layer.trainable = True  # for whoever trains it further
        write_model(model, options.output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept(training, checkpoint)) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    tell_skipped(parts)
    if history:
        print(f"{options.output} written; validation accuracy {history[-1]['val_accuracy']:.2%}")
    else:
        print(f"{options.output} written, untrained")


def _network(options, part):
    """Return the network to train: of the zoo, with weights drawn from the seed, or from a file."""
    from fewbits import zoo
    from fewbits.backend import keras
    from fewbits.io.files import read_model

    if not 0 <= options.seed < 2**32:
        raise InputError(f"seed must be from 0 to 2**32 - 1, not {options.seed}")
    keras.utils.set_random_seed(options.seed)
    if options.network.endswith(".keras"):
        model = read_model(Path(options.network))
        if model.output_shape[-1] != part.classes:
            raise InputError(f"{options.network} has {model.output_shape[-1]} classes, the data {part.classes}")
        return model
    return zoo.build(options.network, part.image_shape, part.classes)


def _take_levels(options, model) -> str:
    """Give `model` the levels that --transfer asks for; return what the user is told of them."""
    from fewbits import zoo
    from fewbits.training.transfer import freeze_levels, take_levels

    if options.transfer is None:
        if options.levels is not None or options.freeze:
            raise InputError("--levels and --freeze are of a --transfer; name the network that levels are taken from")
        return ""
    total = len(zoo.levels(model))
    levels = total - 1 if options.levels is None else options.levels
    take_levels(model, Path(options.transfer) if options.transfer.endswith(".keras") else options.transfer, levels)
    if options.freeze:
        freeze_levels(model, levels)
    return f"; {levels} of {total} levels from {options.transfer}{', frozen' if options.freeze else ''}"


def kept(training, checkpoint) -> str:
    """Return what is left of a training that was stopped."""
    try:
        epochs = len(training.read_history(checkpoint))
    except InputError:
        return "no epoch was finished, so nothing is kept"
    kept = "1 epoch is" if epochs == 1 else f"{epochs} epochs are"
    return f"{kept} kept in {checkpoint}; the same command with --resume goes on"
