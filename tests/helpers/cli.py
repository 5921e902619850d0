"""The command line, called from a test."""

from fewbits.cli import main


def refused(arguments, capsys, quiet=True):
    """Run; return the one sentence that refuses. quiet: nothing may be printed on standard output before."""
    status = main(arguments)
    said = capsys.readouterr()
    assert status == 2 and not (quiet and said.out) and "Traceback" not in said.err
    return said.err.strip().splitlines()[-1]
