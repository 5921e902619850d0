"""Options for how a network learns, which several commands share, and what they ask for."""

import argparse
from pathlib import Path
from typing import Any

from fewbits.cli.images import Part
from fewbits.errors import InputError
from fewbits.names import OPTIMIZERS

# Steps


def add_steps(command: argparse._ActionsContainer, learning_rate: float, batch_size: int) -> None:
    """Add the options for the steps of the training.

    Args:
        command: A parser, or a group of its options.
        learning_rate: The default.
        batch_size: The default.
    """
    command.add_argument(
        "--optimizer", choices=OPTIMIZERS, default="sgd", help="default %(default)s, with Nesterov momentum 0.9"
    )
    command.add_argument("--learning-rate", type=float, default=learning_rate, help="default %(default)s")
    command.add_argument("--batch-size", type=int, default=batch_size, help="images per step (default %(default)s)")


def weighted_classes(text: str) -> str | dict[str, float]:
    """Return what `--class-weights` names: `balanced`, or class -> weight.

    Raises:
        argparse.ArgumentTypeError: when it is something else.
    """
    if text == "balanced":
        return text
    try:
        named = [pair.rsplit("=", 1) for pair in text.split(",")]
        return {name.strip(): float(weight) for name, weight in named}
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither balanced nor weights of classes, such as onion=1,weed=5"
        ) from None


def add_class_weights(command: argparse._ActionsContainer) -> None:
    """Add the option for how much the classes count in training."""
    command.add_argument(
        "--class-weights",
        type=weighted_classes,
        metavar="balanced|CLASS=W,...",
        help="how much the loss of an image counts: balanced, all classes the same; or weights of classes by name or "
        "number, 1 for the others, such as onion=1,weed=5 (default: all images count the same)",
    )


# Teachers


def add_distillation(command: argparse._ActionsContainer, teacher: str) -> None:
    """Add the options for what a network learns from a teacher.

    Args:
        command: A parser, or a group of its options.
        teacher: The help for --teacher.
    """
    command.add_argument(
        "--distill",
        type=float,
        metavar="SHARE",
        help="share of the teacher in the loss, above 0, at most 1 (default: the labels alone)",
    )
    command.add_argument("--teacher", type=Path, metavar="FILE", help=teacher)
    command.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="what logits are divided by before they are compared with the teacher's (default 4)",
    )


def read_distillation(options: argparse.Namespace) -> Any:
    """Return the Distillation that the options ask for, without a teacher if they name none; None for labels alone."""
    from fewbits.io.files import read_model
    from fewbits.training import Distillation

    if options.distill is None:
        if options.teacher or options.temperature is not None:
            raise InputError(
                "--teacher and --temperature require --distill; say how much the teacher counts, such as 0.5"
            )
        return None
    temperature = Distillation.temperature if options.temperature is None else options.temperature
    return Distillation(options.distill, temperature, options.teacher and read_model(options.teacher))


# Statistics of batch normalization


def add_reestimation(command: argparse._ActionsContainer, when: str) -> None:
    """Add the option for the statistics of batch normalization.

    Args:
        command: A parser, or a group of its options.
        when: When they are measured.
    """
    command.add_argument(
        "--reestimate",
        action="store_true",
        help=f"{when}, set the means and variances of batch normalization to those of training images, at most 1,000",
    )


def check_normalization(options: argparse.Namespace, model: Any) -> None:
    """Refuse --reestimate for a network without batch normalization before the work is done.

    Args:
        options: With `reestimate`.
        model: The network.

    Raises:
        InputError: when `model` has no batch normalization.
    """
    from fewbits.training import normalizations

    if options.reestimate and not normalizations(model):
        raise InputError(f"{model.name} has no batch normalization; leave --reestimate out")


def reestimate(options: argparse.Namespace, model: Any, train: Part, validation: Part) -> float | None:
    """Measure the statistics of batch normalization if the options ask for it, and print what that changes.

    Args:
        options: With `reestimate`.
        model: The network to change.
        train: The images that they are measured on.
        validation: The images that judge them.

    Returns:
        The validation accuracy after it; None if the options do not ask for it.
    """
    if not options.reestimate:
        return None
    from fewbits import training
    from fewbits.training.moving_statistics import STATISTICS_IMAGES

    before = training.evaluate(model, validation.data).accuracy
    source = training.source_of(model, train.data, "the training data")
    training.reestimate_normalization(model, training.sample_images(source, STATISTICS_IMAGES))
    after = training.evaluate(model, validation.data).accuracy
    print(f"batch normalization re-estimated; validation accuracy {before:.2%} before, {after:.2%} after", flush=True)
    return after


# Checkpoints


def add_checkpoint(command: argparse.ArgumentParser) -> None:
    """Add the options for where a training is kept, and for going on from there."""
    command.add_argument(
        "--checkpoint",
        type=Path,
        help="keep the training in this file (default: OUTPUT.checkpoint, removed at the end)",
    )
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint, if it exists")


def describe_checkpoint(checkpoint: Path) -> str:
    """Return a sentence with what is kept of a training that was stopped."""
    from fewbits import training

    try:
        epochs = len(training.read_history(checkpoint))
    except InputError:
        return "no epoch was finished, so nothing is kept"
    kept = "1 epoch is" if epochs == 1 else f"{epochs} epochs are"
    return f"{kept} kept in {checkpoint}; the same command with --resume goes on"
