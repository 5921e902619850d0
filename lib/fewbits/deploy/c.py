"""C99 of an integer network, which is C++17, too: no heap, no float, and an example that classifies.

The source is meant to be read: a function for each kind of operation, a call for each layer, the numbers in a file of
their own. It contains only what the network uses. The codes are those of `IntegerNetwork.run`, bit for bit, with every
compiler that shifts negative integers as all do; the source asserts that. It works in memory that the caller gives, or
in its own.

    network = lower(quantized, levels=256)
    memory = write_c(network, Path("squeezenet"))
    # then `make -C squeezenet` and `squeezenet/classify < image.raw`
"""

import re
from math import prod
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import NamedTuple

import numpy as np

import fewbits
from fewbits.deploy import program
from fewbits.deploy.c_interface import Codes, Image, codes_of, images_of
from fewbits.deploy.cmsis_nn import cmsis_layer
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Convolve, signed_bits
from fewbits.errors import InputError, check_name
from fewbits.graph import free_name
from fewbits.io.files import folder_aside
from fewbits.names import C_KERNELS

TEMPLATES = Path(__file__).with_name("templates")
CODE = {"$name.h": "header.h", "$name.c": "source.c", "${name}_numbers.h": "numbers.h"}  # file -> template
PACKAGES = {
    "plain": CODE | {"main.c": "main.c", "Makefile": "Makefile", "CMakeLists.txt": "CMakeLists.txt"},
    "arduino": {f"src/{file}": template for file, template in CODE.items()}
    | {"library.properties": "library.properties", "examples/classify/classify.ino": "classify.ino"},
}
PARALLEL = 4  # windows that share each read of a weight, in dot_four
LANES = 16  # products that a vector may hold
PACKED = 2, 4  # bits of weights of which several share a byte
WINDOWS_BYTES = 4 * 14  # of a `struct windows`
CMSIS_CONVOLVE = {
    "params": "cmsis_nn_conv_params",
    "multiplier": "",
    "filters": "w->out_channels",
    "channels": "w->channels",
    "call": "arm_convolve_wrapper_s8",
}
CMSIS_DEPTHWISE = {
    "params": "cmsis_nn_dw_conv_params",
    "multiplier": " w->out_channels / w->channels,",
    "filters": "1",
    "channels": "w->out_channels",
    "call": "arm_depthwise_conv_wrapper_s8",
}
JOINED = {"add": "sum", "subtract": "difference", "product": "product", "largest": "largest", "smallest": "smallest"}
EXTREMES = {"largest": ">", "smallest": "<"}
HOW = {
    "floor": "down",
    "nearest": "to nearest, half to even",
    "nearest-up": "to nearest, half up",
    "nearest-away": "to nearest, half away from zero",
}


class CMemory(NamedTuple):
    """Bytes that the C takes, without the code itself.

    Attributes:
        weight_bytes: Constants, in flash: kernels, biases and tables.
        arena_bytes: The codes between layers; tensors share this memory.
        scratch_bytes: The sums of a few pixels, the windows that they come from, codes and weights that are unpacked,
            and what aligns the memory.
    """

    weight_bytes: int
    arena_bytes: int
    scratch_bytes: int

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM: arena and scratch together."""
        return self.arena_bytes + self.scratch_bytes


def identifier(name: str, kind: str = "network") -> str:
    """Return a name as an identifier of C, for files, macros and functions.

    Args:
        name: Of a network or a layer.
        kind: Stands before a name that no identifier may have.
    """
    name = re.sub(r"[^0-9A-Za-z_]", "_", name)
    return name if name[:1].isalpha() and name != "main" else f"{kind}_{name}"


def write_c(
    network: IntegerNetwork, folder: Path | str, packed: bool = True, package: str = "plain", kernels: str = "own"
) -> CMemory:
    """Write an integer network as C: NAME.h, NAME.c with its numbers, an example, and what builds them.

    NAME is the name of the network, with underscores for characters that C does not allow. The plain package has a
    Makefile, which also builds a library for a device and prints its size there, and a CMakeLists.txt; that for Arduino
    is a library with the example as a sketch.

    Args:
        network: An integer network.
        folder: The folder to write, whole or not at all; it must not exist yet, or be empty.
        packed: Whether codes of at most 4 bits lie two in a byte, if the C then needs less memory, and weights of
            convolutions and dense layers two in a byte, or four if they have 2 bits. Each read unpacks them, which
            takes time: a LeNet with weights of 4 bits then takes 1.4 times the instructions on a Cortex-M4.
        package: One of `names.C_PACKAGES`.
        kernels: One of `names.C_KERNELS`: with "cmsis-nn", the C calls Arm's library for the layers that it computes
            exactly, those that round "nearest-up" between codes of 8 bits; whoever compiles it brings the library.

    Returns:
        The memory that the C takes.

    Raises:
        InputError: when `folder` is not empty or cannot be created; when there is no such package; when pixels have
            more than 8 bits; naming the layer, when a sum or codes between layers need more than 64 bits, or the
            outputs more than 32.
    """
    check_name("package", package, PACKAGES)
    check_name("kernels", kernels, C_KERNELS)
    if kernels == "cmsis-nn" and package != "plain":
        raise InputError(f"there is no package {package} with kernels of CMSIS-NN; choose the package plain")
    source = _Source(network, packed, kernels)
    files = source.files(package)
    with folder_aside(folder) as aside:
        for path, text in files.items():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_text(text)
    return source.memory


def c_sources(folder: Path) -> list[Path]:
    """Return the source files of a network in C, without the example.

    Args:
        folder: What `write_c` wrote.
    """
    return sorted(path for path in folder.rglob("*.c") if path.name != "main.c")


class _Codes(NamedTuple):
    """Codes that a loop reads.

    Attributes:
        kind: The type of a code, such as "int8" or "uint4".
        place: An expression for where they lie.
    """

    kind: str
    place: str

    @property
    def packed(self) -> bool:
        """Whether two codes share a byte."""
        return self.kind.endswith(f"int{program.PACKED}")

    @property
    def stored(self) -> str:
        """The type of what lies in memory."""
        return "uint8" if self.packed else self.kind

    @property
    def read(self) -> str:
        """The type of a code once it is read."""
        return "int8" if self.packed else self.kind

    def pixel(self, first: str, count: str, place: str = "in", row: str = "m->unpacked") -> str:
        """Return an expression for where `count` codes can be read: those of `place` from `first` on."""
        return f"unpack_{self.kind}({row}, {place}, {first}, {count})" if self.packed else f"{place} + {first}"

    def fields(self) -> dict[str, str]:
        """Return what the functions that read one image pixel by pixel are written with."""
        at, end = self.pixel("|", "w->channels").split("|")
        fields = {"in": f"{self.stored}_t", "code": f"{self.read}_t", "at": at, "end": end}
        if self.packed:
            return fields | {"nowhere": "m->unpacked", "unused": ""}
        return fields | {"nowhere": "in", "unused": "    (void)m;\n"}


class _Source:
    """The parts of the source: functions by name, and the tables, the `finish` and the call of each layer."""

    def __init__(self, network, packed, kernels):
        self.program = program.plan_program(network, packed)
        self.network = network = self.program.network
        self.tensors = network.tensors
        self.name = identifier(network.name)
        self._images = images_of(network, self.name)
        self._results = dict(zip(self.program.outputs, codes_of(network, self.name)))
        pixels = max(image.max_pixel for image in self._images.values())
        if pixels > 255:
            raise InputError(f"pixels of {pixels + 1} levels do not fit in bytes; C takes at most levels=256")
        self._const = f"{self.name.upper()}_CONST static const"
        self._functions: dict[str, str] = {}  # those that loop: name -> text
        self._finishing: dict[str, str] = {}  # those that turn sums into codes: name -> text
        self._tables: dict[str, str] = {}
        self._layers: list[str] = []
        self._calls: list[str] = []
        self._names: set[str] = set()
        self._weights = 0
        self._sums: dict[int, int] = {}  # bits -> how many
        self._patches: dict[int, int] = {}  # bits -> how many
        self._packed, self._weights_row = packed, 0
        self._cmsis = [cmsis_layer(self.program, x) if kernels == "cmsis-nn" else None for x in self.program.loops]
        if kernels == "cmsis-nn" and not any(self._cmsis):
            raise InputError(
                "CMSIS-NN computes no layer of this network exactly; quantize it to 8 bits with rounding nearest-up, "
                "or use our own kernels"
            )
        for output in network.results:
            program.stored_bits(self.tensors[output.tensor], output.layer, 32)
        most = [loop.shape[2] for loop, layer in zip(self.program.loops, self._cmsis) if layer]
        if most:
            self._table("multipliers", np.full(max(most), 2**30), 32)  # of 2^31
        for loop, layer in zip(self.program.loops, self._cmsis):
            if layer:
                self._library_call(loop, layer)
            else:
                self._loop(loop)

    @property
    def memory(self) -> CMemory:
        """The memory that the C takes."""
        arena = self.program.arena_bytes
        rows = sum(bits // 8 * size for bits, size in self._rows().values())
        widest = max([bits // 8 for bits, _ in self._rows().values()] + [b.bits // 8 for b in self._buffers])
        return CMemory(self._weights, arena, -(-(arena + rows) // widest) * widest - arena)

    def files(self, package: str) -> dict[str, str]:
        """Return the text of each file by its path."""
        memory = self.memory
        ends: list[Image | Codes] = [*self._images.values(), *self._results.values()]
        sides = " and ".join(_sides(image.tensor.shape) for image in self._images.values())
        codes = " and ".join(str(codes.tensor.size) for codes in self._results.values())
        fields = {
            "name": self.name,
            "NAME": self.name.upper(),
            "what": f"{sides} pixels in, {codes} codes out",
            "version": fewbits.__version__,
            "sizes": "\n".join(line for end in ends for line in end.macros),
            "values": "\n".join(end.value for end in ends),
            "meaning": "\n   ".join(line for end in ends for line in wrap(end.meaning, 116, subsequent_indent="  ")),
            "parameters": ", ".join(end.parameter for end in ends),
            "arguments": ", ".join(end.name for end in ends),
            **memory._asdict(),
            "ram_bytes": memory.ram_bytes,
            "memory": "\n".join(self._members()),
            "finishers": "".join(
                f"typedef void {_finisher(b)}({_int(b)} *sums, int pixel, void *out);\n" for b in self._sums
            ),
            **{
                x: _text(f"cmsis_{x}", name=self.name) if any(self._cmsis) else "" for x in ("include", "make", "cmake")
            },
            "functions": "\n".join([*self._functions.values(), *self._finishing.values()]),
            "layers": "\n".join(self._layers),
            "calls": "\n".join(self._calls),
            "numbers": "\n".join(self._tables.values()).rstrip(),
            **self._example(),
        }
        paths = {Template(path).substitute(name=self.name): template for path, template in PACKAGES[package].items()}
        if len(ends) > 2 and "main.c" in paths:
            paths["main.c"] = "main_several.c"
        return {path: _text(template, **fields) for path, template in paths.items()}

    def _example(self):
        """Return the parts of the examples: what they hold, take in and give out."""
        images, results = self._images.values(), self._results.values()
        held = [f"static uint8_t {image.name}[{image.size}];" for image in images]
        held += [f"static int32_t {codes.name}[{codes.size}];" for codes in results]
        taken = [f"take({image.name}, sizeof {image.name}, {image.macro}MAX_PIXEL)" for image in images]
        given = [f"give({codes.name}, {codes.size});" for codes in results]
        return {"held": "\n".join(held), "taken": " && ".join(taken), "given": "\n        ".join(given)}

    # Memory

    @property
    def _buffers(self):
        return self.program.buffers.values()

    def _rows(self):
        """Return the rows that a call works in: name -> bits of an element, and how many."""
        rows = {_sums(bits): (bits, size) for bits, size in self._sums.items()}
        rows |= {_patches(bits): (bits, size) for bits, size in self._patches.items()}
        rows |= {"weights": (8, self._weights_row)} if self._weights_row else {}
        buffers = [layer.buffer_bytes for layer in self._cmsis if layer]
        rows |= {"cmsis_nn": (32, max(1, -(-max(buffers) // 4)))} if buffers else {}
        return rows | ({"unpacked": (8, self.program.unpacked_bytes)} if self.program.unpacked_bytes else {})

    def _members(self):
        """Return the members of a call's memory; those with the widest elements come first, so that no gaps arise."""
        members = [(bits, [f"    {_int(bits)} {name}[{size}];"]) for name, (bits, size) in self._rows().items()]
        kinds = sorted({(b.element_bits, b.element) for b in self._buffers})
        if kinds:
            sizes = [f"        {kind}_t {kind}[{self.program.arena_bytes * 8 // bits}];" for bits, kind in kinds]
            members.append((kinds[-1][0], ["    union {", *sizes, "    } arena;"]))
        return [line for _, lines in sorted(members, key=lambda member: -member[0]) for line in lines]

    # One layer

    def _loop(self, loop):
        """Add the tables, functions and call of `loop`."""
        name, bits, shape = self._unique(loop.name), loop.sum_bits, self._shape(loop)
        wide = "" if bits == 32 else "_wide"
        types = {"sum": _int(bits), "sums": f"m->{_sums(bits)}", "finisher": _finisher(bits)}
        rows = PARALLEL if loop.kind == "convolve" and prod(loop.shape[:2]) >= PARALLEL else 1
        self._sums[bits] = max(self._sums.get(bits, 0), rows * loop.shape[2])
        lines = [f"/* {name}: {loop.kind.replace('_', ' ')}, {_sides(shape)} -> {_sides(loop.shape)} */"]
        loaded = 1 + self.network.operations.index(loop.operation) if loop.kind == "load" and loop.operation else 0
        sources = [self._source(i) for i in loop.inputs] or [_Codes("uint8", self._images[loaded].name)]
        arguments = [source.place for source in sources]
        if loop.kind in JOINED:  # a function of its own, because each reads other images
            finish, join = self._finish(loop, name, wide), self._join(loop, name, sources, types, wide)
            self._layers.append("\n".join([*lines, finish, "", join]))
            self._calls.append(f"    join_{name}(m, {', '.join([*arguments, self._target(loop)])});")
            return
        kind, kinds = loop.kind, [sources[0].kind]
        types |= sources[0].fields()
        if kind in ("convolve", "depthwise", "grouped"):
            kernel = loop.operation.kernel if kind == "depthwise" else np.moveaxis(loop.operation.kernel, 3, 0)
            weight_bits = 0
            if kind == "convolve":
                kernel = kernel.reshape(len(kernel), -1)
                length, weight_bits = kernel.shape[1], self._packed_bits(kernel)
                kernel = _shared(kernel, weight_bits) if weight_bits else np.pad(kernel.ravel(), (0, -length % LANES))
            kinds.append(self._table(f"kernel_{name}", kernel))
            self._table(f"bias_{name}", loop.operation.bias, bits)
            types["kernel"] = f"{kinds[1]}_t"
            arguments += [f"kernel_{name}", f"bias_{name}"]
        if kind == "convolve":
            if kinds[0] == "int64":
                raise InputError(f"layer {loop.name} multiplies codes of more than 32 bits; give it an input format")
            types |= self._dots(sources[0], kinds[1], rows, length, bits, wide)
            if weight_bits:
                kind, kinds[1] = "convolve_packed", f"int{weight_bits}"
                types |= self._unpacking(weight_bits, length)
        elif kind == "grouped":
            arguments.append(str(loop.operation.groups))
        elif kind == "depthwise" and loop.shape[2] != shape[2]:
            kind = "depthwise_each"
        elif kind == "load":
            self._table(f"mean_{name}", np.array(self._images[loaded].means), 16)
            arguments.append(f"mean_{name}")
        elif kind == "max_pool":
            types["lowest"] = f"INT{bits}_MIN"
        function = self._use(self._functions, kind, "_".join([kind, *kinds]) + wide, **types)
        lines.append(self._windows(loop, name))
        finish = self._finish(loop, name, wide)
        self._layers.append("\n".join([*lines, finish]) + "\n")
        arguments = ["m", f"&windows_{name}", *arguments, f"finish_{name}", self._target(loop)]
        self._calls.append(f"    {function}({', '.join(arguments)});")

    def _library_call(self, loop, layer):
        """Add the tables, function and call of a loop that CMSIS-NN computes."""
        name, shape, is_depthwise = self._unique(loop.name), self._shape(loop), layer.kind == "depthwise"
        kernel = loop.operation.kernel if is_depthwise else np.moveaxis(loop.operation.kernel, 3, 0)
        self._table(f"kernel_{name}", kernel)
        self._table(f"bias_{name}", loop.operation.bias, 32)
        self._table(f"shifts_{name}", 1 - np.array(layer.shifts[: 1 if layer.kind == "dense" else None]), 32)
        self._use(self._functions, "flip", "flip")
        fields = CMSIS_DEPTHWISE if is_depthwise else CMSIS_CONVOLVE
        template = "cmsis_dense" if layer.kind == "dense" else "cmsis_convolve"
        function = self._use(self._functions, template, f"cmsis_{layer.kind}", **fields)
        title = f"/* {name}: {loop.kind}, {_sides(shape)} -> {_sides(loop.shape)}, by CMSIS-NN */"
        self._layers.append(f"{title}\n{self._windows(loop, name)}\n")
        out = self._target(loop)
        numbers = ", ".join(map(_literal, (layer.low, layer.high)))
        tables = f"kernel_{name}, bias_{name}, shifts_{name}, {numbers}"
        source = f"{self._source(loop.inputs[0]).place}, {layer.in_offset}"
        self._calls.append(f"    {function}(m, &windows_{name}, {source}, {tables}, {out}, {layer.out_offset});")

    def _dots(self, codes, kernel, rows, length, bits, wide):
        """Add the functions that a convolution calls; return their names."""
        width = 32 if codes.kind in ("uint16", "int32") else 16  # of a patch
        self._patches[width] = max(self._patches.get(width, 0), rows * _whole(length))
        types = {"patch": _int(width), "kernel": f"{kernel}_t", "sum": _int(bits)}
        gather = f"gather_{codes.kind}"
        self._use(self._functions, "gather", gather, **types, **codes.fields())
        dots = f"dots_int{width}_{kernel}{wide}"
        is_fast = dots == "dots_int16_int8"
        if dots not in self._functions:
            plain, fast = (_text(f"{kind}.c", function=dots, **types) for kind in ("dots", "dots_dsp"))
            self._functions[dots] = f"#ifdef DSP\n{fast}\n#else\n{plain}#endif\n" if is_fast else plain
        patches = f"m->{_patches(width)}"
        pairs = f"#ifdef DSP\n        pair({patches}, count * step);\n#endif\n" if is_fast else ""
        return {"patches": patches, "gather": gather, "dots": dots, "pairs": pairs}

    def _packed_bits(self, kernel):
        """Return the bits of weights of which several share a byte; 0 if none do."""
        most = signed_bits(int(kernel.min()), int(kernel.max()))
        return next((bits for bits in PACKED if self._packed and most <= bits), 0)

    def _unpacking(self, bits, length):
        """Add the function that unpacks weights; return what a convolution that calls it is written with."""
        self._weights_row = max(self._weights_row, PARALLEL * _whole(length))
        each, mask, sign = 8 // bits, 2**bits - 1, 2 ** (bits - 1)
        words, codes = [], []
        for place, shift in zip(("i", "count + i", "2 * count + i", "3 * count + i"), range(0, 8, bits)):
            words.append(f"        four = word >> {shift} & {hex(0x01010101 * mask)};")
            words.append(f"        four |= (four & {hex(0x01010101 * sign)}) * {(256 - 2 * sign) // sign};")
            words.append(f"        __builtin_memcpy(weights + {place}, &four, 4);")
            codes.append(f"        weights[{place}] = (int8_t)(((byte >> {shift} & {mask}) ^ {sign}) - {sign});")
        texts = {"words": "\n".join(words), "codes": "\n".join(codes)}
        function = self._use(self._functions, "unpack_weights", f"unpack_weights_{bits}", bits=bits, each=each, **texts)
        return {"unpack": function, "each": each}

    def _join(self, loop, name, sources, types, wide):
        """Return a function that joins the images that `loop` reads."""
        height, width, channels = loop.shape
        if loop.kind == "product":
            lines = [self._product(loop, sources, types, wide)]
        else:
            lines = self._accumulated(loop, sources, types, wide)
        fields = {"name": name, "pixels": height * width, "channels": channels, "finish": f"finish_{name}"}
        parameters = ", ".join(f"const {source.stored}_t *x{number}" for number, source in enumerate(sources, 1))
        texts = {"what": JOINED[loop.kind], "parameters": parameters, "lines": "\n".join(lines)}
        return _text("join.c", function=f"join_{name}", sums=types["sums"], **fields, **texts)

    def _accumulated(self, loop, sources, types, wide):
        """Return the lines that take the codes of one image after the other into the sums of a pixel."""
        channels, sums = loop.shape[2], types["sums"]
        lines = [f"        for (int i = 0; i < {channels}; i++)", f"            {sums}[i] = 0;"]
        for number, (source, shift) in enumerate(zip(sources, loop.operation.shifts), 1):
            fields, template = types | {"in": f"{source.read}_t"}, "accumulate"
            if number > 1 and loop.kind in EXTREMES:
                template = "extreme"
                fields |= {"which": loop.kind, "compare": EXTREMES[loop.kind]}
            title = loop.kind if template == "extreme" else template
            function = self._use(self._functions, template, f"{title}_{source.read}{wide}", **fields)
            factor = -(1 << shift) if number > 1 and loop.kind == "subtract" else 1 << shift
            codes = source.pixel(f"{channels} * pixel", str(channels), f"x{number}")
            lines.append(f"        {function}({sums}, {channels}, {codes}, {_literal(factor)});")
        return lines

    def _product(self, loop, sources, types, wide):
        """Return the line that multiplies the codes of a pixel by those of a second image, which may be smaller."""
        height, width, channels = self.tensors[loop.inputs[1]].shape
        kinds, (x, factors) = [source.read for source in sources], sources
        fields = types | {"in": f"{kinds[0]}_t", "factor": f"{kinds[1]}_t"}
        function = self._use(self._functions, "product", f"product_{'_'.join(kinds)}{wide}", **fields)
        row, column = f"pixel / {loop.shape[1]}", f"pixel % {loop.shape[1]}"
        places = {(True, True): "pixel", (True, False): row, (False, True): column, (False, False): "0"}
        place = places[height == loop.shape[0], width == loop.shape[1]]
        step, n = int(channels == loop.shape[2]), loop.shape[2]
        codes = x.pixel(f"{n} * pixel", str(n), "x1")
        second = f"m->unpacked + {n}" if x.packed else "m->unpacked"
        factors = factors.pixel(f"{channels} * ({place})", str(channels), "x2", second)
        return f"        {function}({types['sums']}, {n}, {codes}, {factors}, {step});"

    def _finish(self, loop, name, wide):
        """Return the function that turns the sums of a pixel into codes; add what it calls, and tables."""
        bits, channels = loop.sum_bits, loop.shape[2]
        calls = [
            self._finishing_call(action, f"{name}_{n}", bits, channels, wide) for n, action in enumerate(loop.finish, 1)
        ]
        several = prod(loop.shape[:2]) > 1
        if self._packs(loop):
            store = self._use(self._finishing, "store_packed", f"store_packed{wide}", sum=_int(bits))
            first = f"{loop.stride} * pixel + {loop.offset}" if several else f"{loop.offset}"
            place = f"(uint8_t *)out, {first}"
        else:
            kind = "int32" if loop.tensor in self._results else self.program.buffers[loop.tensor].kind
            types = {"sum": _int(bits), "out": f"{kind}_t"}
            store = self._use(self._finishing, "store", f"store_{kind}{wide}", **types)
            place = f"({kind}_t *)out + {loop.stride} * pixel" if several else f"({kind}_t *)out"
        unused = "" if several else "    (void)pixel;\n"
        body = "".join(f"    {call}\n" for call in [*calls, f"{store}(sums, {channels}, {place});"])
        return f"static void finish_{name}({_int(bits)} *sums, int pixel, void *out)\n{{\n{unused}{body}}}"

    def _finishing_call(self, action, name, bits, channels, wide):
        """Return the call that applies `action` to the sums of a pixel."""
        types = {"sum": _int(bits)}
        limits: tuple[str, ...] = ()
        arguments: tuple[str, ...]
        if isinstance(action, program.DivideSums | program.ClipSums):
            limits = _literal(action.low), _literal(action.high)
        if isinstance(action, program.DivideSums):
            if isinstance(action.shift, tuple):
                kind, code = "shift_each", "code"
                self._table(f"shifts_{name}", np.array(action.shift), 8)
                amount = f"shifts_{name}"
            else:
                kind, code = ("shift" if action.shift else "divide"), "codes[i]"
                amount = _literal(action.shift or action.divisor)
            types |= {"how": HOW[action.rounding], "round": _round(kind, action.rounding, code, _int(bits))}
            function, arguments = f"{kind}_{action.rounding.replace('-', '_')}", (amount, *limits)
        elif isinstance(action, program.MultiplySums):
            kind = function = "multiply"
            arguments = (_literal(action.factor),)
        elif isinstance(action, program.LeakySums):
            kind, function, arguments = self._leak(action, name, channels, types)
        elif isinstance(action, program.TabulateSums):
            entry = self._table(f"table_{name}", action.codes)
            types["entry"] = f"{entry}_t"
            kind, function, arguments = "look_up", f"look_up_{entry}", (f"table_{name}", _literal(action.first))
        elif isinstance(action, program.OffsetSums):
            kind = function = "add_constants"
            self._table(f"constants_{name}", action.constants, bits)
            arguments = (f"constants_{name}",)
        else:
            kind = function = "clip"
            arguments = limits
        function = self._use(self._finishing, kind, function + wide, **types)
        return f"{function}(sums, {channels}, {', '.join(arguments)});"

    def _leak(self, action, name, channels, types):
        """Return the kind, the name and the last arguments of a function that multiplies codes below zero by slopes."""
        factor = _literal(action.factor)
        if action.slopes.size == 1:
            return "leak", "leak", (_literal(int(action.slopes[0])), factor)
        slope = self._table(f"slopes_{name}", action.slopes)
        types["slope"] = f"{slope}_t"
        place = f"slopes_{name} + {channels} * pixel" if action.slopes.ndim == 2 else f"slopes_{name}"
        return "leak_each", f"leak_each_{slope}", (place, factor)

    # Parts

    def _use(self, functions, template, function, **fields):
        """Add `function`, made from `template`, once; return its name."""
        if function not in functions:
            functions[function] = _text(f"{template}.c", function=function, **fields)
        return function

    def _table(self, name, array, bits=None):
        """Add constants of `bits`, or as narrow as they fit; return their type, such as "int8"."""
        low, high = int(array.min()), int(array.max())
        bits = bits or next(width for width in (8, 16, 32, 64) if signed_bits(low, high) <= width)
        self._weights += array.size * bits // 8
        self._tables[name] = f"{self._const} {_int(bits)} {name}[{array.size}] = {{\n{_numbers(array)}\n}};\n"
        return f"int{bits}"

    def _windows(self, loop, name):
        """Return the table of where the windows of `loop` lie."""
        operation, (height, width, channels) = loop.operation, self._shape(loop)
        rows, columns = (
            operation.kernel.shape[:2]
            if isinstance(operation, Convolve)
            else getattr(operation, "window", getattr(operation, "size", (1, 1)))
        )
        down, right = getattr(operation, "strides", (1, 1))
        dilation = getattr(operation, "dilation", (1, 1))
        (top, _), (left, _) = getattr(operation, "padding", ((0, 0), (0, 0)))
        self._weights += WINDOWS_BYTES
        return (
            f"{self._const} struct windows windows_{name} = {{\n"
            f"    {height}, {width}, {channels}, /* height, width, channels */\n"
            f"    {rows}, {columns}, /* rows, columns */\n"
            f"    {down}, {right}, {dilation[0]}, {dilation[1]}, /* down, right, row_step, column_step */\n"
            f"    {top}, {left}, /* top, left */\n"
            f"    {loop.shape[0]}, {loop.shape[1]}, {loop.shape[2]} /* out_height, out_width, out_channels */\n"
            f"}};"
        )

    def _shape(self, loop):
        return self.tensors[loop.inputs[0]].shape if loop.inputs else loop.shape

    def _source(self, i):
        """Return the codes of tensor `i`; add the function that unpacks them."""
        if i in self._results:
            return _Codes("int32", self._results[i].name)
        if i in self.program.images:
            return _Codes("uint8", self._images[self.program.images[i]].name)
        buffer = self.program.buffers[i]
        if buffer.packed:
            value = "(code ^ 8) - 8" if buffer.signed else "code"
            self._use(self._functions, "unpack", f"unpack_{buffer.kind}", value=value)
        return _Codes(buffer.kind, _place(buffer, 0))

    def _packs(self, loop):
        """Return whether `loop` writes codes of which two share a byte."""
        return loop.tensor not in self._results and self.program.buffers[loop.tensor].packed

    def _target(self, loop):
        """Return an expression for where `loop` writes its first code."""
        if loop.tensor in self._results:
            name = self._results[loop.tensor].name
            return f"{name} + {loop.offset}" if loop.offset else name
        return _place(self.program.buffers[loop.tensor], 0 if self._packs(loop) else loop.offset)

    def _unique(self, layer):
        """Return a name for what belongs to a loop that is not used yet."""
        return free_name(re.sub(r"[^0-9A-Za-z_]", "_", layer), self._names)


def _round(kind, rounding, code, integer):
    """Return the lines that round `whole`, the quotient rounded down, of the integer `code`."""
    if rounding == "floor":
        return ""
    divisor = "divisor" if kind == "divide" else f"(({integer})1 << shift)"
    half = {"nearest": "(whole & 1)", "nearest-up": "1", "nearest-away": f"({code} >= 0)"}[rounding]
    rest = f"{code} - whole * divisor" if kind == "divide" else f"{code} & ({divisor} - 1)"
    return f"\n        const {integer} rest = {rest};\n        whole += 2 * rest + {half} > {divisor};"


def _text(template, **fields):
    return Template((TEMPLATES / template).read_text()).substitute(fields)


def _numbers(array, a_line=20):
    texts = [_literal(code) for code in array.ravel().tolist()]
    lines = (", ".join(texts[i : i + a_line]) for i in range(0, len(texts), a_line))
    return ",\n".join(f"    {line}" for line in lines)


def _literal(code):
    """Return an integer as a literal of C; the lowest of a type has a name, as its digits alone are out of range."""
    if code in (-(2**31), -(2**63)):
        return f"INT{(-code).bit_length()}_MIN"
    return str(code) if abs(code) < 2**31 else f"INT64_C({code})"


def _shared(kernel, bits):
    """Return the weights of each filter (filters, n) as bytes for `unpack_weights`, filled up."""
    each = 8 // bits
    codes = np.pad(kernel, ((0, 0), (0, -kernel.shape[1] % each))).reshape(len(kernel), each, -1)
    places = bits * np.arange(each)[:, np.newaxis]
    return ((codes & (2**bits - 1)) << places).sum(1).astype(np.uint8).view(np.int8)


def _whole(length):
    """Return a number of products rounded up to whole vectors."""
    return -(-length // LANES) * LANES


def _place(buffer, offset):
    first = buffer.start * 8 // buffer.element_bits + offset
    return f"m->arena.{buffer.element} + {first}" if first else f"m->arena.{buffer.element}"


def _int(bits):
    return f"int{bits}_t"


def _sums(bits):
    return "sums" if bits == 32 else "wide_sums"


def _patches(bits):
    return "patches" if bits == 16 else "wide_patches"


def _finisher(bits):
    return "finisher" if bits == 32 else "wide_finisher"


def _sides(shape):
    return " x ".join(map(str, shape))
