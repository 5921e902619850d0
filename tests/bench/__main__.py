"""Time what must be fast (`make bench`). Tests never assert a time; benchmarks print ratios for people to read.

python tests/bench slider|network|sweep|device|calibration [ROUNDS of network]
"""

import sys


def main(what, *rounds):
    if what == "slider":
        import slider

        slider.report()
    elif what == "network":
        import network

        network.report(*map(int, rounds))
    elif what == "sweep":
        import sweep

        sweep.report()
    elif what == "device":
        import device

        device.report()
    elif what == "calibration":
        import calibration

        calibration.report()
    else:
        sys.exit(f"error: unknown benchmark {what!r}; it is one of slider, network, sweep, device, calibration")


if __name__ == "__main__":
    main(*sys.argv[1:3] or ["network"])
