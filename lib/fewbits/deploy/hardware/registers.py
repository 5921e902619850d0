"""The bus by which a processor sets up the engine and reads its counters."""

from fewbits.deploy.hardware.register_map import ADDRESS_BITS, ADDRESSES, COUNTERS, REGISTERS
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Module, Signal, signed, unsigned
    from amaranth.lib.data import StructLayout
    from amaranth.lib.wiring import Component, In, Out

Settings = StructLayout(
    {r.name: (signed if r.signed else unsigned)(r.bits) for r in REGISTERS if not r.counts and r.name != "start"}
)
Waits = StructLayout({name: 1 for name in COUNTERS if name != "cycles"})


class Registers(Component):
    """A register per address. Data that is read is there one cycle after its address."""

    def __init__(self):
        super().__init__(
            {
                "address": In(ADDRESS_BITS),
                "write": In(1),
                "write_data": In(32),
                "read_data": Out(32),
                "settings": Out(Settings),
                "start": Out(1),
                "ends": In(1),  # the last code of the job leaves
                "busy": Out(1),
                "waits": In(Waits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m = Module()
        counters = {name: Signal(32, name=name) for name in COUNTERS}
        with m.Switch(self.address):
            for name, address in ADDRESSES.items():
                with m.Case(address):
                    if name == "start":
                        m.d.comb += self.start.eq(self.write)
                        m.d.sync += self.read_data.eq(self.busy)
                    elif name in counters:
                        m.d.sync += self.read_data.eq(counters[name])
                    else:
                        m.d.sync += self.read_data.eq(self.settings[name])
                        with m.If(self.write):
                            m.d.sync += self.settings[name].eq(self.write_data)
            with m.Default():
                m.d.sync += self.read_data.eq(0)
        for name, counter in counters.items():
            with m.If(self.busy & (1 if name == "cycles" else self.waits[name])):
                m.d.sync += counter.eq(counter + 1)
            with m.If(self.start):
                m.d.sync += counter.eq(0)
        with m.If(self.ends):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        return m
