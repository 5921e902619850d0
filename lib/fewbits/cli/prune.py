"""`fewbits prune`: a trained network loses filters, and learns to do without them."""

import argparse
from pathlib import Path

from fewbits.cli.images import add_held_out, add_options, read_parts, report_skipped
from fewbits.cli.parser import add_checkpoint, add_command, check_output
from fewbits.errors import InputError

ABOUT = """
Step by step the filters that matter least are removed, and what is left is trained. The result is an ordinary, smaller
network. One goal must be given: a ratio of filters, or what is left of bytes or MACs. A step that breaks the network,
or falls below the least accuracy, is undone, and the last. Stopped at any moment, the same command with --resume goes
on from the last finished step.
"""
EXAMPLES = """
  fewbits prune digits.keras --data digits --ratio 0.67 --dry-run
  fewbits prune digits.keras --data digits --ratio 0.67 --per-step 64 --output small.keras
  fewbits prune photos.keras --data photos --macs 5000000 --least-accuracy 0.9 --output small.keras
"""


def add(commands) -> None:
    command = add_command(commands, "prune", run, "remove the filters that matter least", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="the trained network, a .keras file")
    add_options(command)
    add_held_out(command)
    goal = command.add_argument_group("goal, one of")
    goal.add_argument("--ratio", type=float, help="share of the filters to remove, 0 to 1")
    goal.add_argument("--bytes", type=int, dest="weight_bytes", help="of the weights at 32 bits, at most")
    goal.add_argument("--macs", type=int, help="of one image, at most")
    command.add_argument("--criterion", default="combined", help="mean-activation, activation-l2, taylor, ...")
    command.add_argument("--per-step", type=int, default=128, help="filters to remove in each step (default 128)")
    command.add_argument(
        "--train-images",
        type=_two,
        default=(3_200, 48_000),
        metavar="FIRST,LAST",
        help="to train on behind the first step, and behind one that would leave nothing (default 3200,48000)",
    )
    command.add_argument(
        "--least-accuracy", type=float, default=0.0, help="of the validation images, 0 to 1 (default 0)"
    )
    command.add_argument(
        "--optimizer", default="sgd", help="sgd, with Nesterov momentum 0.9 (default), adam or rmsprop"
    )
    command.add_argument("--learning-rate", type=float, default=0.001, help="default 0.001")
    command.add_argument("--batch-size", type=int, default=64, help="images at a time (default 64)")
    command.add_argument("--seed", type=int, default=0, help="draws images and their order (default 0)")
    command.add_argument("--dry-run", action="store_true", help="train nothing; print what would go")
    command.add_argument("--output", type=Path, help="write the network to this .keras file")
    add_checkpoint(command)


def run(options) -> None:
    if options.dry_run == (options.output is not None):
        raise InputError("give --output FILE.keras, or --dry-run to see what would go")
    if options.output:
        check_output(options.output, ".keras")
    from fewbits import training
    from fewbits.backend import keras
    from fewbits.io.files import read_model, write_model
    from fewbits.pruning import Plan, prune, remove_filters, would_remove

    fields = ("ratio", "weight_bytes", "macs", "per_step", "criterion", "optimizer", "learning_rate")
    plan = Plan(
        **{name: getattr(options, name) for name in (*fields, "batch_size", "least_accuracy", "seed")},
        images=options.train_images,
    )
    model = read_model(options.model)
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed)
    training.check_images(model, train.image_shape, f"the images of {options.data}")
    print(f"{model.name}: {plan.criterion}; training: {train.what}; validation: {validation.what}", flush=True)
    if options.dry_run:
        gone = would_remove(model, train.data, plan)
        _tell_layers(model, gone)
        _tell_costs(model, remove_filters(model, gone))
        return
    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    keras.utils.set_random_seed(options.seed)
    try:
        result = prune(
            model,
            train.data,
            plan,
            validation=validation.data,
            checkpoint=checkpoint,
            resume=options.resume,
            progress=_tell_step,
        )
        write_model(result.model, options.output)
    except KeyboardInterrupt:
        told = f"{checkpoint} holds the last step; --resume goes on" if checkpoint.exists() else "nothing was written"
        raise KeyboardInterrupt(told) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    report_skipped(parts)
    if result.failed:
        why = {"accuracy": "fell below the least accuracy", "breakdown": "broke the network"}[result.stopped]
        print(f"step {result.failed['step']} {why}, and is undone")
    _tell_costs(model, result.model)
    before, after = (result.steps[i]["val_accuracy"] for i in (0, -1))
    print(f"{options.output} written; validation accuracy {after:.2%}, before {before:.2%}")


def _tell_step(step, most) -> None:
    left = sum(step["filters"].values())
    print(
        f"step {step['step']} of {most}  {left:,} filters  {step['weight_bytes']:,} bytes  {step['macs']:,} MACs  "
        f"removed {step['val_accuracy_before']:.2%}  trained {step['val_accuracy']:.2%}",
        flush=True,
    )


def _tell_layers(model, gone) -> None:
    for name, filters in gone.items():
        layer = model.get_layer(name)
        n = layer.units if hasattr(layer, "units") else layer.filters
        print(f"{name:<24}{len(filters):>6,} of {n:>6,} filters")


def _tell_costs(*models) -> None:
    """Print a table of what the network costs before and after."""
    from fewbits.costs import latency
    from fewbits.costs.complexity import totals
    from fewbits.deploy import litert
    from fewbits.quantization.conversion import dequantize_model

    before, after = map(totals, models)
    rows = [("bytes", before.weight_bytes, after.weight_bytes), ("MACs", before.macs, after.macs)]
    plain = map(dequantize_model, models)
    taken = latency.measure_latency({name: litert.to_litert(net) for name, net in zip(("before", "after"), plain)})
    print(f"{'':<10}{'before':>14}{'after':>14}{'left':>9}")
    for name, old, new in rows:
        print(f"{name:<10}{old:>14,}{new:>14,}{new / old:>9.1%}")
    old, new = (taken[name].median for name in ("before", "after"))
    print(f"{'ms':<10}{old:>14.3f}{new:>14.3f}{new / old:>9.1%}  an image, LiteRT, one thread")


def _two(text):
    try:
        first, last = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers, such as 3200,48000") from None
    return first, last
