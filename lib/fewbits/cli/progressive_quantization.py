"""`fewbits progressive-quantization`: a trained network learns to compute in few bits."""

import sys
from pathlib import Path

from fewbits.cli.images import add_held_out, add_options, read_parts, report_skipped
from fewbits.cli.parser import add_checkpoint, add_command, bits, check_output, percentiles
from fewbits.cli.train import describe_checkpoint

ABOUT = """
The network is quantized level by level, and trained after each. `lock` keeps what is quantized as it is; `train` lets
it go on learning; `gradual` takes bits from all levels one by one, `gradual-by-level` from one level after the other.
`all-at-once` quantizes all levels and trains, `static` does not train. A level is a module of a network of the zoo
(fire2 of SqueezeNet), and a layer of others. Batch normalization is folded. Stopped at any moment, the same command
with --resume goes on from the last finished epoch.
"""
EXAMPLES = """
  fewbits progressive-quantization digits.keras --data digits --bits 6 --epochs 2 --output digits-6.keras
  fewbits progressive-quantization digits.keras --data digits --bits 8,6,6 --strategy lock --level-order sensitivity \\
                                   --relax --percentile 98 --output locked.keras
"""


def add(commands) -> None:
    command = add_command(
        commands, "progressive-quantization", run, "train a network towards few bits", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="the trained network, a .keras file")
    add_options(command)
    add_held_out(command)
    command.add_argument(
        "--bits", type=bits, default=8, metavar="N|K,I,O", help="of all, or of kernel, input and output; - is float"
    )
    command.add_argument("--strategy", default="train", help="lock, train (default), gradual, gradual-by-level, ...")
    command.add_argument("--epochs", type=int, default=1, help="of training for each level, or stage (default 1)")
    command.add_argument(
        "--level-order",
        type=_order,
        default="input",
        help="input (default), output, random, sensitivity, or LEVEL,LEVEL,...",
    )
    command.add_argument("--relax", action="store_true", help="at the end unlock all levels and train once more")
    command.add_argument("--edge-bits", type=int, metavar="N", help="least bits of the first and the last level")
    msb = command.add_argument_group("MSBs")
    msb.add_argument(
        "--percentile",
        type=percentiles,
        default=99.9,
        metavar="P|K,I,O",
        help="share of the values that the MSB holds (default 99.9); mse: the MSB of least squared error; kl: that of "
        "least divergence",
    )
    msb.add_argument("--generic", action="store_true", help="one MSB a kind for all layers: the largest")
    msb.add_argument("--per-channel", action="store_true", help="an MSB for each filter of a kernel")
    msb.add_argument("--recalibrate", action="store_true", help="choose MSBs anew where a stage begins")
    command.add_argument("--rounding", default="nearest", help="floor, nearest (default), nearest-up, ...")
    command.add_argument("--gradient", default="clipped", help="0 outside the range (clipped, default) or identity")
    command.add_argument("--optimizer", default="sgd", help="sgd, with Nesterov momentum 0.9 (default), or adam")
    command.add_argument("--learning-rate", type=float, default=0.001, help="default 0.001")
    command.add_argument("--decay", default="constant", help="of the learning rate: constant (default) or cosine")
    command.add_argument("--batch-size", type=int, default=32, help="images a step (default 32)")
    command.add_argument("--seed", type=int, default=0, help="draws the order of images, and of levels (default 0)")
    command.add_argument("--output", type=Path, required=True, help="write the quantized network to this .keras file")
    add_checkpoint(command)


def run(options) -> None:
    check_output(options.output, ".keras")
    from fewbits import training, zoo
    from fewbits.backend import keras
    from fewbits.cli.progress import TrainingBar
    from fewbits.io.files import read_model, write_model
    from fewbits.quantization.conversion import dequantize_model
    from fewbits.training.schedules import progressive_quantization

    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    model = dequantize_model(read_model(options.model))
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed)
    training.check_images(model, train.image_shape, f"the images of {options.data}")
    three = options.bits if isinstance(options.bits, tuple) else (options.bits,) * 3
    print(f"{model.name} to {', '.join('float' if n is None else f'{n} bits' for n in three)}: {options.strategy}")
    print(f"training: {train.what}; validation: {validation.what}", flush=True)
    keras.utils.set_random_seed(options.seed)
    try:
        outcome = progressive_quantization(
            model,
            train.data,
            three,
            options.strategy,
            validation=validation.data,
            epochs=options.epochs,
            levels=zoo.levels(model) if model.name in zoo.NAMES else None,
            order=options.level_order,
            relax=options.relax,
            edge_bits=options.edge_bits,
            percentile=options.percentile,
            per_layer=not options.generic,
            per_channel=options.per_channel,
            recalibrate=options.recalibrate,
            rounding=options.rounding,
            gradient=options.gradient,
            optimizer=options.optimizer,
            learning_rate=options.learning_rate,
            decay=options.decay,
            seed=options.seed,
            batch_size=options.batch_size,
            checkpoint=checkpoint,
            resume=options.resume,
            progress=TrainingBar(sys.stdout),
        )
        write_model(outcome.model, options.output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_checkpoint(checkpoint)) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    report_skipped(parts)
    for number, stage in enumerate(outcome.stages, 1):
        print(f"{stage.name:<20}" + _course([entry for entry in outcome.history if entry["stage"] == number]))
    before = training.evaluate(model, validation.data).accuracy
    print(f"{options.output} written; validation accuracy {outcome.val_accuracy:.2%}, in float {before:.2%}")


def _course(entries) -> str:
    if not entries:
        return "quantized, not trained"
    return f"quantized {entries[0]['val_accuracy_before']:>7.2%}   trained {entries[-1]['val_accuracy']:>7.2%}"


def _order(text):
    return text.split(",") if "," in text else text
