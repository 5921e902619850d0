"""The networks of the reference results: their costs against the graph's own, and commands that make the same trial."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import InputError, quantize_model, zoo
from fewbits.book import inventory, reference
from fewbits.book.inventory import Layer, Network
from fewbits.book.reference import Cell
from fewbits.costs import energy
from fewbits.costs.complexity import totals
from fewbits.experiment import Trial, read_grid
from fewbits.pruning import shrunk_to


def read_back(text, folder):
    path = folder / "network.toml"
    path.write_text(text)
    [grid] = read_grid(path)
    [trial] = grid.trials
    return trial


@pytest.fixture(scope="module")
def found():
    return inventory.reference_networks()


def test_each_is_there_once_and_every_technique_is_known(found):
    assert found and {n.technique for n in found} <= set(inventory.TECHNIQUES)
    assert len({n.trial.key for n in found}) == len(found)
    assert all(n.trial.data == "cifar10" and n.cell.records and n.training for n in found)


def test_cells_with_the_same_first_trial_are_one_with_all_its_seeds(found):
    [network] = [n for n in found if n.name == "mobilenet_cifar width 1 32 px"]  # in two grids
    assert len(network.cell.records) == 3


def test_networks_in_integers_count_as_the_same_networks(found):
    run = [c for g in reference.grids() for c in reference.cells(g.name) if c.trial.data == "cifar10" and c.records]
    assert any(c.trial.integers for c in run) and not any(n.trial.integers for n in found)


def test_every_command_makes_the_same_trial(found, tmp_path):
    for network in found:
        assert read_back(inventory.toml(network.trial), tmp_path).key == network.trial.key
        echo, text, *rest = shlex.split(network.command)
        assert (echo, text) == ("echo", inventory.toml(network.trial)) and "\n" not in network.command
        assert rest == "> network.toml && fewbits sweep network.toml --store results".split()


START = {"network": "lenet", "data": "digits", "seed": 3, "epochs": 2, "learning_rate": 4e-05}


@pytest.mark.parametrize(
    "fields",
    [
        {"strategy": "static", "bits": (8, None, 4), "start": 'it\'s "mine" \\ ü'},
        {"strategy": "train", "bits": (2, 3, 4), "epochs": 1, "start": START, "order": ("conv1", "fc1")},
        {"strategy": "lock", "bits": (8, 8, 8), "epochs": 1, "start": START, "percentile": (99.0, "mse", 100)},
        {"strategy": "train", "bits": (2, 3, 4), "epochs": 1, "start": START, "signed": False, "reestimate": True},
        {"strategy": "train", "bits": (2, 3, 4), "epochs": 1, "start": START, "ranges": "learned-per-filter"},
        {"strategy": "train", "bits": (2, 3, 4), "epochs": 1, "start": START, "distill": 0.3, "temperature": 1e-05},
        {"transfer": 2, "freeze": True, "epochs": 1, "start": START | {"width": 0.5}, "width": 2.0},
        {"transfer": 0, "epochs": 1, "start": START, "width": 0.5},
        {"transfer": 0, "epochs": 1, "start": START | {"width": 1.0}, "width": 0.5},
        {"transfer": 0, "epochs": 1, "start": START | {"size": 24}, "size": 16, "augment": "light"},
        {"transfer": 0, "epochs": 1, "start": {"strategy": "prune", "ratio": 0.123456789, "start": START}},
    ],
)
def test_any_trial_survives_its_toml(fields, tmp_path):
    trial = Trial(**{"network": "lenet", "data": "digits"} | fields)
    assert read_back(inventory.toml(trial), tmp_path) == trial


def test_a_start_without_the_size_of_its_trial_cannot_be_written():
    start = Trial(network="lenet", data="digits", epochs=1)
    trial = Trial(network="lenet", data="digits", size=16, start=start, transfer=0, epochs=1)
    with pytest.raises(InputError, match="cannot be written"):
        inventory.toml(trial)


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [("squeezenet_cifar", 1, None), ("mobilenet_cifar", 0.25, 16), ("basicnet", 1, None)],
)
def test_weights_biases_and_macs_are_those_of_the_folded_graph(name, width, size):
    trial = Trial(network=name, data="cifar10", width=float(width), size=size, epochs=1)
    layers = inventory._layers(trial)
    side = size or 32
    model = zoo.build(name, (side, side, 3), 10, **({} if width == 1 else {"width": width}))
    folded = quantize_model(model, fold_batch_normalization=True).quantized_layers
    assert sum(layer.weights for layer in layers) == sum(int(np.prod(x.kernel.shape)) for x in folded)
    assert sum(layer.biases for layer in layers) == sum(int(np.prod(x.bias.shape)) for x in folded)
    assert sum(layer.macs for layer in layers) == totals(model).macs


def test_edge_bits_are_those_of_the_first_and_the_last_level_alone():
    fields = {"strategy": "static", "bits": (4, 3, 2), "start": "squeezenet_cifar", "edge_bits": 8}
    layers = inventory._layers(Trial(network="squeezenet_cifar", data="cifar10", **fields))
    assert [layer.bits for layer in layers] == [(8, 8), *[(4, 3)] * (len(layers) - 2), (8, 8)]


def test_a_pruned_network_has_the_costs_of_its_shape(found):
    cell = reference.cell("pruning", criterion="combined")
    step = cell.records[0].results.pruning[3]
    [layer] = inventory._pruned(cell.trial, [step], (8, 6, 4))
    shape = shrunk_to(zoo.build("squeezenet_cifar", (32, 32, 3), 10), step["filters"])
    folded = quantize_model(shape, fold_batch_normalization=True).quantized_layers
    assert layer.weights == sum(int(np.prod(x.kernel.shape)) for x in folded)
    assert layer.biases == sum(int(np.prod(x.bias.shape)) for x in folded)
    assert (layer.macs, layer.bits) == (totals(shape).macs, (8, 6))


def test_the_steps_of_a_pruning_are_prunings_that_end_there(found):
    whole = 2912  # filters of squeezenet_cifar that can go: 2922, but for the ten of conv10
    steps = [n for n in found if n.technique == inventory.PRUNED and n.trial.criterion == "taylor"]
    gone = [round(n.trial.ratio * whole) for n in steps]
    assert gone == [*range(243, 2330, 243), 2330][: len(gone)] and gone
    assert [n.filters for n in steps] == [2922 - n for n in gone]
    assert [r.results.test.hits for r in steps[0].cell.records] != [r.results.test.hits for r in steps[1].cell.records]


def test_bytes_and_energy_of_a_network_by_hand():
    trial = Trial(network="lenet", data="digits", epochs=1)
    network = Network(trial, None, "", (Layer(100, 10, 1000, (8, 4)), Layer(16, 2, 50)))
    assert network.size == 100 + 4 * 10 + 4 * 16 + 4 * 2
    assert network.macs == 1050
    arithmetic = 1000 * (0.1 + 0.1) + 50 * 4.6  # 8 x 4 bits: half of 0.2
    assert network.energy("SRAM") == pytest.approx(arithmetic + network.size * 12.5)
    assert network.energy("DRAM") - network.energy("SRAM") == pytest.approx(network.size * (162.5 - 12.5))


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8))
def test_fewer_bits_are_never_more_bytes_or_energy(few, many):
    few, many = sorted((few, many))
    trial = Trial(network="lenet", data="digits", epochs=1)
    small, large = (Network(trial, None, "", (Layer(100, 10, 1000, (b, b)),)) for b in (few, many))
    assert small.size <= large.size
    for memory in energy.READING:
        assert small.energy(memory) <= large.energy(memory)


def test_no_two_networks_with_the_same_training_have_one_name():
    networks = inventory.reference_networks("cifar10")
    told = [(network.name, network.training) for network in networks]
    assert len(set(told)) == len(told)


def test_networks_of_one_training_that_are_quantized_otherwise_have_other_names(tmp_path):
    fields = {"network": "lenet", "data": "digits", "strategy": "train", "bits": (4, 4, 4), "epochs": 1, "start": START}
    ways = [{}, {"signed": False}, {"ranges": "learned"}, {"ranges": "learned-per-filter"}, {"per_channel": True}]
    ways += [{"distill": 0.5}, {"distill": 0.5, "temperature": 2.0}, {"distill": 0.25}, {"reestimate": True}]
    networks = [Network(Trial(**fields | way), None, "", ()) for way in ways]
    assert len({network.name for network in networks}) == len(ways)
    assert [read_back(inventory.toml(network.trial), tmp_path) for network in networks] == [n.trial for n in networks]


def test_a_network_of_which_the_statistics_were_measured_again_has_another_training():
    trial = Trial(network="lenet", data="digits", epochs=1)
    assert inventory._told(Cell(trial, []), []) == "1 epoch of all images at 0.01"
    again = trial.model_copy(update={"reestimate": True})
    assert inventory._told(Cell(again, []), []) == "1 epoch of all images at 0.01, statistics re-estimated"


CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))


def shown(source, names):
    """Return those of `names` that a chapter's code writes, whole or put together, if it asks for reference cells."""
    tree = ast.parse(source)
    if not re.search(r"reference\.cells?\(", ast.unparse(tree)):
        return set()
    words = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    joined = [node.values for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    patterns = [
        "".join(re.escape(part.value) if isinstance(part, ast.Constant) else "(.*)" for part in parts)
        for parts in joined
        if any(isinstance(part, ast.Constant) and len(part.value) > 3 for part in parts)
    ]
    made = [(name, re.fullmatch(pattern, name)) for name in names for pattern in patterns]
    return (words & set(names)) | {name for name, match in made if match and words.issuperset(match.groups())}


def test_every_reference_grid_is_shown_in_a_chapter():
    names = [grid.name for grid in reference.grids()]
    assert len(set(names)) == len(names) and len(CHAPTERS) > 15
    assert set(names) == set().union(*(shown(path.read_text(), names) for path in CHAPTERS))


def test_a_grid_is_shown_if_its_name_is_written_or_put_together_from_words():
    names = ["static", "lock or train", "lock or train at 4 bits", "lock or train at 2 bits"]
    source = 'for more in ("", " at 4 bits"):\n    reference.cell(f"lock or train{more}")'
    assert shown(source, names) == {"lock or train", "lock or train at 4 bits"}
    assert shown('reference.cells("static")', names) == {"static"}
    assert shown('print("static")  # reference.cells("static")', names) == set()


def test_data_without_networks_here_are_refused():
    with pytest.raises(InputError, match="cifar10"):
        inventory.reference_networks("photographs")


def test_the_networks_of_a_technique_are_counted_with_their_seeds(found):
    table = inventory.technique_table(found)
    assert [row[0] for row in table.rows] == list(inventory.TECHNIQUES) and table.note.startswith("Reference: cifar10")
    for technique, n, top1, size, seeds in table.rows:
        members = [network for network in found if network.technique == technique]
        ends = top1.split(" to "), size.removesuffix(" kB").replace(",", "").split(" to ")
        tops, sizes = ([float(end.rstrip("%")) for end in pair] for pair in ends)
        assert n == len(members) == sum(int(part) for part in re.findall(r"(\d+) with", seeds))
        assert all(tops[0] - 0.05 <= 100 * each.cell.estimate.mean <= tops[1] + 0.05 for each in members)
        assert all(sizes[0] - 0.5 <= each.size / 1e3 <= sizes[1] + 0.5 for each in members)
