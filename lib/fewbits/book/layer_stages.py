"""The page of layers and stages: which kind of layer can go how far, found out by trying it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fewbits.backend import keras
from fewbits.book.layer_examples import EXAMPLES, Example, network_of, network_of_all
from fewbits.deploy.coreml import write_coreml
from fewbits.deploy.hls4ml import check_hls4ml
from fewbits.deploy.litert import to_litert
from fewbits.deploy.lowering import lower
from fewbits.deploy.onnx import to_onnx
from fewbits.deploy.onnx_integer import to_integer_onnx
from fewbits.deploy.program import plan_program
from fewbits.deploy.qonnx import to_qonnx
from fewbits.errors import InputError
from fewbits.pruning.surgery import kept_whole, removable
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.folding import foldings
from fewbits.quantization.layers import RoundingLayer

INTRODUCTION = """# Layers and stages

Each kind of layer stands in a small network, between a convolution and a dense layer, and each stage is tried. This
page is written by `python -m fewbits.book layers`, and a test says when it is old. `fewbits check MODEL` tells the same
of your own network.

- **Quantized:** `rounds` means that the layer gets formats; `passes` that it needs none.
- **Folding:** what becomes of a batch normalization after it: it is folded `into it` or `into the next` layer, or
  becomes a layer of its `own` with one weight per channel. A dash: the layer stands at the input.
- **Pruning:** `filters` means that it can lose filters; `passes` that the layer before it can.
- **The other columns:** whether the network can be exported with formats of eight bits, with batch normalization and
  preprocessing folded. Inputs and outputs may be signed or unsigned.
- **LiteRT int8:** the file has the codes of the network. A kernel may hold the code -128, which the specification of
  LiteRT leaves out: without it, 16 bits hold the sum of two products, and programs for some processors rely on that.
  The file keeps the code, because any other would compute something else than the network. LiteRT on x86 computes
  it right, which a test shows where every weight and every input is -128; other processors were not tried. To be safe
  there, raise the weights of each kernel to at least -127 steps before you export.

A number leads to the reason below the table; there, the layer is called `here`.
"""
FORMATS = FixedPoint(0, 8), FixedPoint(3, 8), FixedPoint(3, 8)  # any formats do to see what can be exported
LayerFormats = tuple[FixedPoint, FixedPoint, FixedPoint]


SETTINGS: dict[str, Any] = {"rounding": "nearest", "fold_batch_normalization": True, "fold_preprocessing": True}


def _core_ml(model: QuantizedModel) -> None:
    with TemporaryDirectory() as folder:
        write_coreml(model, Path(folder, "model.mlpackage"))


def _hls4ml(model: QuantizedModel) -> None:
    lower(model)
    check_hls4ml(model)


FORMS: dict[str, Callable[[Any], Any]] = {
    "Integers": lower,
    "C": lambda model: plan_program(lower(model)),
    "Integer ONNX": lambda model: to_integer_onnx(lower(model)),
    "hls4ml": _hls4ml,
    "ONNX": to_onnx,
    "QONNX": to_qonnx,
    "LiteRT": to_litert,
    "LiteRT int8": lambda model: to_litert(model, "int8"),
    "Core ML": _core_ml,
}
AROUND = [f"here_{role}" for role in ("before", "between", "other", "dense")]  # layers around the example
CONVERTED = ("LiteRT", "LiteRT int8", "Core ML")  # by TensorFlow, which takes about a second
COLUMNS = ("Quantized", "Folding", "Pruning", *FORMS)

Cell = tuple[str, str]  # what the table says, and why not; empty if nothing is against it


def layer_cells(
    examples: Sequence[Example], columns: Sequence[str] = COLUMNS, formats: LayerFormats = FORMATS
) -> list[dict[str, Cell]]:
    """Return what can be done with each kind of layer.

    Args:
        examples: Kinds of layers.
        columns: Those of COLUMNS to try.
        formats: Of kernel, input and output, with which exports are tried.

    Returns:
        For each kind, column -> what the table says, and the reason if it says no.
    """
    keras.utils.clear_session()  # numbers in the names of operations start anew
    found = [_quantized(network_of(example), formats) for example in examples]
    tries = {"Folding": _folding, "Pruning": _pruning}
    cells = [{"Quantized": cell} for cell, _ in found]
    for column in columns:
        if column in tries:
            new = list(map(tries[column], examples))
        elif column in FORMS:
            accepted = [i for i, (_, model) in enumerate(found) if model is not None]
            reasons = _reasons(column, [examples[i] for i in accepted], [found[i][1] for i in accepted], formats)
            new = [cell if model is None else ("no", reasons.pop(0)) for cell, model in found]
            new = [(said, reason) if reason else ("yes", "") for said, reason in new]
        else:
            continue
        for cell, row in zip(new, cells):
            row[column] = cell
    return cells


def layer_page() -> str:
    """Return the page in Markdown: a table per group of kinds, and the reasons below it."""
    return "\n".join([INTRODUCTION, *(_section(title, examples) for title, examples in EXAMPLES.items())])


def _section(title: str, examples: Sequence[Example]) -> str:
    reasons: dict[str, int] = {}

    def shown(cell: Cell) -> str:
        said, reason = cell
        return f"{said} ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else said

    rows = [[f"`{e.title}`", *map(shown, cells.values())] for e, cells in zip(examples, layer_cells(examples))]
    lines = [["Layer", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    why = "\n".join(f"{number}. {reason}" for reason, number in reasons.items())
    return f"## {title}\n\n{table}\n" + (f"\n{why}\n" if why else "")


def _quantized(model: keras.Model, formats: LayerFormats) -> tuple[Cell, QuantizedModel | None]:
    """Return the cell of a network, and the network quantized if it can be."""
    try:
        quantized = quantize_model(model, formats, **SETTINGS)
    except InputError as error:
        return ("no", str(error)), None
    own = [layer for layer in quantized.layers if layer.name.startswith("here") and layer.name not in AROUND]
    return ("rounds" if any(isinstance(layer, RoundingLayer) for layer in own) else "passes", ""), quantized


def _folding(example: Example) -> Cell:
    if example.at_input:
        return "–", ""
    [way] = [f.way for f in foldings(canonical(network_of(example, normalized=True))) if f.call.name == "here_norm"]
    return {"before": "into it", "after": "into the next", "own": "own", "kept": "stays"}[way], ""


def _pruning(example: Example) -> Cell:
    if example.at_input:
        return "–", ""
    model = network_of(example)
    free = {name for group in removable(model) for name, _ in group}
    own = ("here", "here_inside")
    if free.intersection(own):
        return "filters", ""
    if "here_before" in free:
        return "passes", ""
    return "no", next(reason for name, reason in kept_whole(model).items() if name in (*own, "here_before"))


def _reasons(column: str, examples: list[Example], models: list[Any], formats: LayerFormats) -> list[str]:
    """Return why each network cannot be exported; empty where it can."""
    export = FORMS[column]
    if column not in CONVERTED:
        return [_reason(export, model) for model in models]
    refused: dict[int, str] = {}
    for shape in {example.shape for example in examples}:
        left = [i for i, example in enumerate(examples) if example.shape == shape]
        while left and (place := _refused_place(export, [examples[i] for i in left], formats)) is not None:
            refused[left[place]] = _reason(export, models[left[place]])
            del left[place]
    return [refused.get(i, "") for i in range(len(examples))]


def _refused_place(export: Callable[[Any], Any], examples: list[Example], formats: LayerFormats) -> int | None:
    """Return the place of an example for which a network of all cannot be exported, to convert as few as possible."""
    said = _reason(export, quantize_model(network_of_all(examples), formats, **SETTINGS))
    if not said:
        return None
    named = re.search(r"\bhere(\d+)(_|\b)", said)
    return int(named[1]) if named else 0


def _reason(export: Callable[[Any], Any], model: QuantizedModel) -> str:
    try:
        export(model)
    except InputError as error:
        return str(error)
    return ""
