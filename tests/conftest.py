import os
import shutil
import signal
import sys

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run, however busy the machine.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=200)
settings.load_profile("steady")


# Without oneDNN, TensorFlow has no dilated transposed convolution; by default it is on only where a processor has VNNI.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Under `make test`, a make that a test calls would say which folder it enters and leaves, and take our options.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

# A process that was started in the background does not hear Ctrl-C, nor do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--require-pages", action="store_true", help="fail, not skip, without a built book or a browser")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Side by side, the tests of a file share their fixtures in one process; chapters are dealt out one by one."""
    for item in items:
        if not item.get_closest_marker("chapters"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))


@pytest.fixture(autouse=True)
def same_numbers(request):
    """Each test draws the same numbers, from NumPy and from Keras, whichever tests ran before it."""
    if rng := getattr(request.module, "RNG", None):
        rng.bit_generator.state = request.module.__dict__.setdefault("RNG_BEFORE", rng.bit_generator.state)
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def chromium(request):
    """Chromium, for pages of a test's own."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("FEWBITS_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        (pytest.fail if request.config.getoption("--require-pages") else pytest.skip)(
            "there is no Chromium; install it (Debian: apt-get install chromium) or name it in FEWBITS_BROWSER"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def points():
    return _points


def _points(fmt, n, dtype=np.float64):
    """Return about `n` distinct numbers worth rounding to `fmt`: ordinary ones, codes, ties, edges, and neighbours."""
    rng = np.random.default_rng([fmt.nbits, fmt.msb + 64])
    a, q = fmt.amplitude, fmt.step
    edges = [0, a, a - q / 2, a - q, a + q / 2, 3 * a, 1000 * a, q / 2, q, 1e-9, 1e-30]
    codes = rng.integers(0, 2 * fmt.max_code, n // 40, endpoint=True)
    special = np.concatenate([edges, codes * q, (codes + 0.5) * q]).astype(dtype)
    special = np.concatenate([special, np.nextafter(special, 0), np.nextafter(special, np.inf)])
    special = special[(special == 0) | (special >= 1e-30)]
    ordinary = np.concatenate([rng.normal(0, a, n * 4 // 10), rng.uniform(-2 * a, 2 * a, n * 4 // 10)]).astype(dtype)
    return np.unique(np.concatenate([ordinary, special, -special]))
