"""What the parsers of all commands have in common."""

import argparse


def add_command(commands, name, run, what, examples, about=""):
    """Return a new parser for the command `name`; what: in a few words; examples: shown below its options."""
    description = f"{what[0].upper()}{what[1:]}." + (f"\n\n{about.strip()}" if about else "")
    command = commands.add_parser(
        name,
        help=what,
        description=description,
        epilog=f"examples:\n{examples.strip(chr(10))}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command
