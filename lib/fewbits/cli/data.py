"""`fewbits data`: what a data set holds."""

from fewbits.cli.parser import add_command


def add(commands) -> None:
    command = add_command(
        commands,
        "data",
        run,
        "check a data set and describe it",
        "  fewbits data digits\n  FEWBITS_DATA=~/datasets fewbits data cifar10",
    )
    command.add_argument("name", help="digits, mnist, cifar10 or cifar100; FEWBITS_DATA names a folder to read from")


def run(options) -> None:
    from fewbits.data import load

    dataset = load(options.name)
    height, width, channels = dataset.image_shape
    print(f"{dataset.name}: {len(dataset.classes)} classes, images {height} x {width} x {channels}")
    for part in ("train", "validation", "test"):
        print(f"  {part:<11}{len(getattr(dataset, part)):>7,} images")
    print(f"  sha256 {dataset.checksum}")
