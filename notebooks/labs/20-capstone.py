# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Capstone: the digits in as few bytes as you can
#
# Make a network that reads the digits and fits two budgets: at most **16,000 bytes**, and at least **90 %** of test
# digits that neither you nor the network has seen. Within the budgets, fewer bytes are better. Everything in this book
# is allowed: another architecture, fewer filters, fewer bits, training with them.
#
# - **Time**: an evening; the first network within the budgets takes 30 minutes.
# - **You need**: chapters 8 to 18; the extra `data`, TensorFlow.
# - **Goals**: choose a technique for a budget; decide on validation digits alone; report a number that others can
#   check.
#
# ## The rules
#
# - Kernels of quantized layers count at their bits, with a byte for each MSB. All other parameters, biases too, count
#   32 bits. An exported `.tflite` file counts as it is.
# - The score is the number of times that 16,000 bytes can be halved until the network just fits; a network that misses
#   a budget has 0.
# - The test digits choose nothing. Run the score once; if you try ten networks on them, the best of the ten looks
#   better than it is.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from fewbits import Calibration, Recipe, Schedule, training
from fewbits.backend import keras
from fewbits.io.files import write_model
from fewbits.labs import capstone

# %% [markdown]
# ## Your network
#
# `train` and `validation` are pairs of images (n, 8, 8, 1) and labels (n,). Return a Keras model that takes such images
# and returns ten logits. The imports above are a hint at one way; there are others.

# %%
def compress(train, validation):
    """Return a network within the budgets."""
    ...


# %%
model = capstone.check_compress(compress)

# %% [markdown]
# ## The score
#
# Write the model to a file, and score it:
#
# ```shell
# python -m fewbits.book capstone my-digits.keras
# ```
#
# The cell below does the same. The last line is the score of our solution.

# %%
with TemporaryDirectory() as folder:
    path = Path(folder, "my-digits.keras")
    write_model(model, path)
    print(capstone.score_capstone(path))

# %% [markdown]
# ## An open question
#
# The interval of the accuracy is a few points wide, so a network that reads 90.5 % of these digits may read 89 % of
# others. How large a reserve would you ask for before you sign that a device reads 90 %, and how many test digits would
# you need to ask for half of that reserve?
