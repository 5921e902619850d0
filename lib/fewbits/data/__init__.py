"""Labelled images, split into training, validation and test parts."""

from fewbits.data.dataset import Dataset, Split
from fewbits.data.folders import ImageFolder, load_folder
from fewbits.data.sources import NAMES, load

__all__ = ["NAMES", "Dataset", "ImageFolder", "Split", "load", "load_folder"]
