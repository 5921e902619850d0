"""`fewbits progressive-quantization`: a trained network learns to compute in few bits."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.images import Part, add_held_out, add_options, read_parts, report_skipped, weights_by_number
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
from fewbits.cli.parser import Commands, add_calibration, add_command, bit_count, bits, check_output
from fewbits.cli.pixel_options import known_codes
from fewbits.errors import InputError, check_integer
from fewbits.names import DECAYS, GRADIENTS, LEVEL_ORDERS, RANGES, STRATEGIES

ABOUT = """
The network is quantized level by level and trained after each level. `lock` keeps the weights of quantized levels as
they are; `train` lets them learn on; `gradual` lowers the bits of all levels one by one, `gradual-by-level` those of
one level after the other. `all-at-once` quantizes all levels and trains; `static` does not train. A level is a module
of a network of the zoo (fire2 of SqueezeNet), and one layer of any other network. Batch normalization is folded. The
scale of a Rescaling or Normalization goes into the kernel that reads it, except for a power of two, so that integers
can begin with the pixels. If the command is stopped, the same command with --resume continues from the last finished
epoch.
"""
EXAMPLES = """
  fewbits progressive-quantization digits.keras --data digits --bits 6 --epochs 2 --output digits-6.keras
  fewbits progressive-quantization digits.keras --data digits --bits 8,6,6 --strategy lock --level-order sensitivity \\
                                   --relax --percentile 98 --output locked.keras
  fewbits progressive-quantization photos.keras --data photos --bits 4 --distill 0.5 --reestimate --output few.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(
        commands, "progressive-quantization", run, "train a network towards few bits", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="the trained network, a .keras file")
    add_options(command)
    add_held_out(command)
    _add_schedule(command)
    _add_calibration(command)
    _add_recipe(command)
    add_reestimation(command, "before it is folded")
    command.add_argument("--output", type=Path, required=True, help="write the quantized network to this .keras file")
    add_checkpoint(command)


def _add_schedule(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("schedule")
    group.add_argument(
        "--bits",
        type=bits,
        default=8,
        metavar="N|K,I,O",
        help="bits of all values, or of kernel, input and output; - is float (default %(default)s)",
    )
    group.add_argument("--strategy", choices=STRATEGIES, default="train", help="default %(default)s")
    group.add_argument(
        "--epochs", type=int, default=1, help="epochs of training per level or stage (default %(default)s)"
    )
    group.add_argument(
        "--level-order",
        type=_order,
        default="input",
        metavar="ORDER",
        help=f"{', '.join(LEVEL_ORDERS)}, or the names of all levels, LEVEL,LEVEL,... (default %(default)s)",
    )
    group.add_argument("--relax", action="store_true", help="at the end unlock all levels and train once more")
    group.add_argument(
        "--edge-bits", type=bit_count, metavar="N", help="least number of bits of the first and the last level"
    )


def _add_calibration(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("calibration")
    add_calibration(group)
    group.add_argument("--per-channel", action="store_true", help="use an MSB for each filter of a kernel")
    group.add_argument("--recalibrate", action="store_true", help="choose MSBs again when a stage begins")
    group.add_argument(
        "--gradient",
        choices=GRADIENTS,
        default="clipped",
        help="straight-through estimator: 0 outside the range, or 1 everywhere (default %(default)s)",
    )
    group.add_argument(
        "--ranges",
        choices=RANGES,
        default="fixed",
        help="whether MSBs are trained, for each layer or each filter of a kernel (default %(default)s)",
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("training")
    group.add_argument(
        "--reconstruct",
        type=int,
        default=0,
        metavar="STEPS",
        help="before labels train it, restore the outputs of each block in so many steps (with --strategy all-at-once)",
    )
    add_steps(group, learning_rate=0.001, batch_size=32)
    group.add_argument(
        "--decay", choices=DECAYS, default="constant", help="how the learning rate falls (default %(default)s)"
    )
    add_class_weights(group)
    add_distillation(group, "the network that teaches, a .keras file (default: the float network that is quantized)")
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the order of the images, and of levels in random order (default %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Quantize and train the network, and write it."""
    check_output(options.output, ".keras")
    for name, asked in (("--ranges", options.ranges != "fixed"), ("--distill", options.distill is not None)):
        if asked and options.strategy == "static":
            raise InputError(f"{name} is for training, and --strategy static trains nothing; leave it out")
    if options.reconstruct and options.strategy != "all-at-once":
        raise InputError("--reconstruct begins --strategy all-at-once; leave it out, or choose this strategy")
    check_integer("--reconstruct", options.reconstruct, 0)
    from fewbits import training, zoo
    from fewbits.backend import keras
    from fewbits.cli.progress import TrainingBar
    from fewbits.io.files import read_model, write_model
    from fewbits.quantization.calibration import Calibration
    from fewbits.quantization.conversion import dequantize_model
    from fewbits.quantization.preprocessing import fold_preprocessing

    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    three = options.bits if isinstance(options.bits, tuple) else (options.bits,) * 3
    schedule = training.Schedule(
        three, options.strategy, options.epochs, options.level_order, options.relax, options.edge_bits
    )
    calibration = Calibration(
        options.percentile, not options.generic, options.per_channel, options.recalibrate, options.signed
    )
    model = fold_preprocessing(dequantize_model(read_model(options.model)), keep_size=True)
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed, model=model)
    training.check_images(model, train.image_shape, f"the images of {options.data}")
    recipe = training.Recipe(
        options.optimizer,
        options.learning_rate,
        options.decay,
        options.batch_size,
        options.seed,
        weights_by_number(options.class_weights, train),
        read_distillation(options),
    )
    check_normalization(options, model)
    print(f"{model.name} to {', '.join('float' if n is None else f'{n} bits' for n in three)}: {options.strategy}")
    print(f"training: {train.what}; validation: {validation.what}", flush=True)
    keras.utils.set_random_seed(options.seed)
    reestimate(options, model, train, validation)
    try:
        outcome = training.progressive_quantization(
            model,
            train.data,
            schedule,
            validation=validation.data,
            calibration=calibration,
            recipe=recipe,
            levels=zoo.levels(model) if model.name in zoo.NAMES else None,
            rounding=options.rounding,
            gradient=options.gradient,
            ranges=options.ranges,
            on_stage=_start(options, model, train),
            checkpoint=checkpoint,
            resume=options.resume,
            progress=TrainingBar(sys.stdout),
        )
        quantized: Any = outcome.model
        quantized.pixels = known_codes(train)
        write_model(quantized, options.output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_checkpoint(checkpoint)) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    report_skipped(parts)
    for number, stage in enumerate(outcome.stages, 1):
        print(f"{stage.name:<20}" + _course([entry for entry in outcome.history if entry["stage"] == number]))
    before = training.evaluate(model, validation.data).accuracy
    print(f"{options.output} written; validation accuracy {outcome.val_accuracy:.2%}, in float {before:.2%}")


def _start(options: argparse.Namespace, model: Any, train: Part) -> Any:
    """Return how the training begins, as `on_stage` in `progressive_quantization`."""
    if not options.reconstruct:
        return None
    from fewbits import training
    from fewbits.post_training.starts import START_IMAGES, reconstructed_start

    images = training.sample_images(training.source_of(model, train.data, train.what), START_IMAGES)
    return reconstructed_start(images, options.reconstruct, options.seed)


def _course(entries: list[dict]) -> str:
    """Return what a stage did to the accuracy, from its entries of the history."""
    if not entries:
        return "quantized, not trained"
    return f"quantized {entries[0]['val_accuracy_before']:>7.2%}   trained {entries[-1]['val_accuracy']:>7.2%}"


def _order(text: str) -> str | list[str]:
    """Return the order of the levels: one of LEVEL_ORDERS, or names of levels."""
    if "," in text:
        return text.split(",")
    if text not in LEVEL_ORDERS:
        known = ", ".join(LEVEL_ORDERS)
        raise argparse.ArgumentTypeError(f"{text!r} is neither one of {known} nor the names of all levels with commas")
    return text
