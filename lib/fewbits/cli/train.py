"""`fewbits train`: a network from images."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.images import (
    Part,
    add_held_out,
    add_options,
    check_classes,
    read_parts,
    report_skipped,
    weights_by_number,
)
from fewbits.cli.learning import (
    add_checkpoint,
    add_class_weights,
    add_distillation,
    add_reestimation,
    add_steps,
    check_normalization,
    describe_checkpoint,
    read_distillation,
    reestimate,
)
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError

ABOUT = """
A checkpoint is written after each epoch. After Ctrl-C, a crash or a power cut, the same command with --resume goes on
from there, and ends with the same bits as a training that was never stopped.

With --transfer the network takes its first levels from one that was trained on other images. A level consists of the
layers whose names are equal up to the first underscore, such as conv1 or fire2. Prepare the images as for that network.

With --distill the network learns the outputs of a trained network for the same images, too.
"""
EXAMPLES = """
  fewbits train --network lenet --data digits --epochs 10 --output digits.keras
  fewbits train --network squeezenet_v1_1 --data photos --size 227 --order bgr --mean-pixel 104,117,123 \\
                --epochs 50 --learning-rate 0.001 --output photos.keras
  fewbits train --network squeezenet_cifar --transfer cifar10.keras --levels 9 --freeze \\
                --data plants --size 32 --by-photograph --output plants.keras
  fewbits train --network mine.keras --data mine.npz --class-weights balanced --output trained.keras
  fewbits train --network lenet --data digits --distill 0.5 --teacher large.keras --output small.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "train", run, "train a network on images", EXAMPLES, ABOUT)
    command.add_argument(
        "--network", required=True, help="a network of the zoo, such as lenet, or a .keras file to train further"
    )
    add_options(command)
    add_held_out(command)
    command.add_argument(
        "--transfer",
        metavar="FILE",
        help="take the first levels from this .keras file, or from trained weights of the zoo by name",
    )
    command.add_argument("--levels", type=int, help="number of levels to take (default: all but the last)")
    command.add_argument("--freeze", action="store_true", help="freeze the levels that were taken; train the others")
    command.add_argument("--epochs", type=int, default=5, help="passes over the training images (default 5)")
    add_steps(command, learning_rate=0.01, batch_size=32)
    add_class_weights(command)
    add_distillation(command, "the trained network whose outputs are learned, a .keras file")
    add_reestimation(command, "after training")
    command.add_argument(
        "--seed", type=int, default=0, help="seed of the initial weights and the order of the images (default 0)"
    )
    command.add_argument("--output", type=Path, required=True, help="write the trained network to this .keras file")
    add_checkpoint(command)


def run(options: argparse.Namespace) -> None:
    """Train the network and write it."""
    check_output(options.output, ".keras")
    from fewbits import training
    from fewbits.cli.progress import TrainingBar
    from fewbits.io.files import write_model

    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    fresh = not checkpoint.exists()
    given = _given_network(options)
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed, model=given)
    model = _network(options, train, given)
    check_normalization(options, model)
    distillation = read_distillation(options)
    if distillation and distillation.teacher is None:
        raise InputError("--distill requires --teacher; name the trained network whose outputs are learned")
    taken = _take_levels(options, model)
    training.prepare(model, options.optimizer, options.learning_rate)
    print(f"{model.name}, {model.count_params():,} parameters, {train.classes} classes{taken}")
    print(f"training: {train.what}; validation: {validation.what}")
    if options.resume:
        print(f"no {checkpoint} yet; starting at epoch 1" if fresh else f"going on from {checkpoint}", flush=True)
    try:
        history = training.train(
            model,
            train.data,
            validation=validation.data,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=options.seed,
            class_weight=weights_by_number(options.class_weights, train),
            distillation=distillation,
            checkpoint=checkpoint,
            resume=options.resume,
            progress=TrainingBar(sys.stdout),
        )
        for layer in model.layers:
            layer.trainable = True  # in case it is trained further
        reestimated = reestimate(options, model, train, validation)
        write_model(model, options.output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_checkpoint(checkpoint)) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    report_skipped(parts)
    if reestimated is None and not history:
        print(f"{options.output} written; not trained")
    else:
        accuracy = history[-1]["val_accuracy"] if reestimated is None else reestimated
        print(f"{options.output} written; validation accuracy {accuracy:.2%}")


def _given_network(options: argparse.Namespace) -> Any:
    """Return the network of a file; None for one of the zoo, whose weights are then drawn from the seed."""
    from fewbits.backend import keras
    from fewbits.io.files import read_model

    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed must be from 0 to 2**32 - 1, not {options.seed}")
    keras.utils.set_random_seed(options.seed)
    return read_model(Path(options.network)) if options.network.endswith(".keras") else None


def _network(options: argparse.Namespace, part: Part, given: Any) -> Any:
    """Return the network to train: that of a file, or a new one of the zoo."""
    from fewbits import zoo

    if given is not None:
        check_classes(given, part, options.network)
        return given
    _check_zoo_labels(part)
    return zoo.build(options.network, part.image_shape, part.classes)  # type: ignore[arg-type]  # it checks the shape


def _check_zoo_labels(part: Part) -> None:
    """Check labels from which the classes of a new network follow."""
    if not isinstance(part.data, tuple):
        return
    labels = part.data[1]
    if labels.ndim == 2:
        raise InputError("images with several labels need a network of yours with a sigmoid unit for each; name a file")
    lacking = sorted({*range(part.classes)} - {*labels.tolist()})
    if lacking:
        raise InputError(
            f"{part.what} have no label {lacking[0]}; number {part.classes - len(lacking)} classes from 0 without gaps"
        )


def _take_levels(options: argparse.Namespace, model: Any) -> str:
    """Copy the levels that --transfer asks for into `model`; return a description for the user."""
    from fewbits import zoo
    from fewbits.training.transfer import freeze_levels, take_levels

    if options.transfer is None:
        if options.levels is not None or options.freeze:
            raise InputError("--levels and --freeze require --transfer; name the network to take levels from")
        return ""
    total = len(zoo.levels(model))
    levels = total - 1 if options.levels is None else options.levels
    take_levels(model, Path(options.transfer) if options.transfer.endswith(".keras") else options.transfer, levels)
    if options.freeze:
        freeze_levels(model, levels)
    return f"; {levels} of {total} levels from {options.transfer}{', frozen' if options.freeze else ''}"
