"""Labelled images, split into training, validation and test parts, and photographs with boxes to cut them from."""

from fewbits.data.crops import Scene, draw_scenes, write_scene
from fewbits.data.cutouts import Cutouts, cut_out, read_cutouts, write_cutouts
from fewbits.data.dataset import Dataset, Split
from fewbits.data.folders import ImageFolder, load_folder
from fewbits.data.folds import centred, mirrored, split_folds
from fewbits.data.sources import NAMES, load
from fewbits.data.voc import Box, Photograph, read_boxes, read_photographs, write_boxes

__all__ = [
    "NAMES",
    "Box",
    "Cutouts",
    "Dataset",
    "ImageFolder",
    "Photograph",
    "Scene",
    "Split",
    "centred",
    "cut_out",
    "draw_scenes",
    "load",
    "load_folder",
    "mirrored",
    "read_boxes",
    "read_cutouts",
    "read_photographs",
    "split_folds",
    "write_boxes",
    "write_cutouts",
    "write_scene",
]
