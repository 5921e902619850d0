"""`fewbits prune`: a trained network loses filters and learns to do without them."""

import argparse
from pathlib import Path
from typing import Any

from fewbits.cli.images import add_held_out, add_options, read_parts, report_skipped, weights_by_number
from fewbits.cli.learning import add_checkpoint, add_class_weights, add_steps
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError
from fewbits.names import CRITERIA

ABOUT = """
In each step the filters that matter least are removed, and the rest is trained. The result is an ordinary, smaller
network. One goal must be given: a ratio of filters, or a limit of bytes or MACs. A step that breaks the network or
falls below the least accuracy is undone, and pruning ends. If the command is stopped, the same command with --resume
continues from the last finished step.
"""
EXAMPLES = """
  fewbits prune digits.keras --data digits --ratio 0.67 --dry-run
  fewbits prune digits.keras --data digits --ratio 0.67 --per-step 64 --output small.keras
  fewbits prune photos.keras --data photos --macs 5000000 --least-accuracy 0.9 --output small.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "prune", run, "remove the filters that matter least", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="the trained network, a .keras file")
    add_options(command)
    add_held_out(command)
    goal = command.add_argument_group("goal (exactly one)")
    goal.add_argument("--ratio", type=float, help="share of the filters to remove, from 0 to 1")
    goal.add_argument("--bytes", type=int, dest="weight_bytes", help="largest size of the weights, at 32 bits each")
    goal.add_argument("--macs", type=int, help="largest number of MACs per image")
    steps = command.add_argument_group("steps")
    steps.add_argument("--criterion", choices=CRITERIA, default="combined", help="default %(default)s")
    steps.add_argument("--per-step", type=int, default=128, help="filters to remove in each step (default %(default)s)")
    steps.add_argument(
        "--least-accuracy",
        type=float,
        default=0.0,
        help="least accuracy on the validation images, from 0 to 1 (default %(default)s)",
    )
    _add_training(command)
    command.add_argument("--dry-run", action="store_true", help="do not train; print what would be removed")
    command.add_argument("--output", type=Path, help="write the network to this .keras file")
    add_checkpoint(command)


def _add_training(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("training")
    group.add_argument(
        "--train-images",
        type=_two,
        default=(3_200, 48_000),
        metavar="FIRST,LAST",
        help="images to train on after the first step, and after a step that would remove every filter "
        "(default 3200,48000)",
    )
    add_steps(group, learning_rate=0.001, batch_size=64)
    add_class_weights(group)
    group.add_argument("--seed", type=int, default=0, help="seed of the images and their order (default %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Prune the network and write it, or print what would be removed."""
    if options.dry_run == (options.output is not None):
        raise InputError("give --output FILE.keras, or --dry-run to see what would be removed")
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
    parts = train, validation = read_parts(options, "train", "validation", seed=options.seed, model=model)
    training.check_images(model, train.image_shape, f"the images of {options.data}")
    print(f"{model.name}: {plan.criterion}; training: {train.what}; validation: {validation.what}", flush=True)
    if options.dry_run:
        gone = would_remove(model, train.data, plan)
        _print_layers(model, gone)
        _print_costs(model, remove_filters(model, gone))
        return
    checkpoint = options.checkpoint or options.output.with_name(f"{options.output.name}.checkpoint")
    keras.utils.set_random_seed(options.seed)
    try:
        result = prune(
            model,
            train.data,
            plan,
            validation=validation.data,
            class_weight=weights_by_number(options.class_weights, train),
            checkpoint=checkpoint,
            resume=options.resume,
            progress=_print_step,
        )
        write_model(result.model, options.output)
    except KeyboardInterrupt:
        kept = f"{checkpoint} holds the last step; --resume goes on" if checkpoint.exists() else "nothing was written"
        raise KeyboardInterrupt(kept) from None
    if not options.checkpoint:
        checkpoint.unlink(missing_ok=True)
    report_skipped(parts)
    if result.failed:
        why = {"accuracy": "fell below the least accuracy", "breakdown": "broke the network"}[result.stopped]
        print(f"step {result.failed['step']} {why}, and is undone")
    _print_costs(model, result.model)
    before, after = (result.steps[i]["val_accuracy"] for i in (0, -1))
    print(f"{options.output} written; validation accuracy {after:.2%}, before {before:.2%}")


def _print_step(step: dict, most: int) -> None:
    left = sum(step["filters"].values())
    print(
        f"step {step['step']} of {most}  {left:,} filters  {step['weight_bytes']:,} bytes  {step['macs']:,} MACs  "
        f"removed {step['val_accuracy_before']:.2%}  trained {step['val_accuracy']:.2%}",
        flush=True,
    )


def _print_layers(model: Any, gone: dict[str, list[int]]) -> None:
    """Print how many filters each layer would lose, and why the others would lose none."""
    from fewbits.pruning import kept_whole
    from fewbits.quantization import canonical

    model = canonical(model)  # what is removed is named as there
    for name, filters in gone.items():
        layer = model.get_layer(name)
        n = layer.units if hasattr(layer, "units") else layer.filters
        print(f"{name:<24}{len(filters):>6,} of {n:>6,} filters")
    for name, reason in kept_whole(model).items():
        print(f"{name:<24}stays whole: {reason}")


def _print_costs(*models: Any) -> None:
    """Print a table of what the network costs before and after."""
    from fewbits.costs import latency
    from fewbits.costs.complexity import totals
    from fewbits.deploy import litert
    from fewbits.quantization.conversion import dequantize_model

    before, after = map(totals, models)
    print(f"{'':<10}{'before':>14}{'after':>14}{'left':>9}")
    rows = [("bytes", before.weight_bytes, after.weight_bytes), ("MACs", before.macs, after.macs)]
    for name, old, new in rows:
        print(f"{name:<10}{old:>14,}{new:>14,}{new / old:>9.1%}")
    plain = zip(("before", "after"), map(dequantize_model, models))
    try:
        taken = latency.measure_latency({name: litert.to_litert(model) for name, model in plain})
    except InputError as missing:  # LiteRT is in an extra
        print(f"no latency: {missing}")
        return
    slow, fast = (taken[name].median for name in ("before", "after"))
    print(f"{'ms':<10}{slow:>14.3f}{fast:>14.3f}{fast / slow:>9.1%}  per image, LiteRT, one thread")


def _two(text: str) -> tuple[int, int]:
    """Return the two numbers of `text`."""
    try:
        first, last = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers, such as 3200,48000") from None
    return first, last
