"""The parameters with which both libraries augment the same pictures.

Each case has one set of parameters for each of the two pictures, so that nothing passes which takes one for all.
"""

from pathlib import Path

FILE = Path(__file__).parent / "augmentations.npz"
SIZE = (24, 31)  # of the pictures, and of the images that magnitudes and boxes are drawn for

CASES = {
    "brightness": [0.4, 1.7],
    "contrast": [0.3, 1.6],
    "saturation": [0.0, 1.8],
    "hue": [-0.37, 0.21],
    "sharpness": [0.2, 1.9],
    "solarize": [0.5, 0.21],
    "posterize": [3, 6],
    "autocontrast": [None, None],
    "equalize": [None, None],
    "grayscale": [None, None],
    "gaussian_blur": [0.6, 2.0],
    "gaussian_blur of 23": [1.1, 9.0],
    "erase": [(3, 4, 10, 20), (0, 20, 24, 11)],
    "horizontal_flip": [None, None],
    "crop": [(1, 4), (7, 11)],
}
"""Of the kernels of those names: for each picture its parameter."""

RESIZES = [  # method, antialias, size
    ("bilinear", True, (16, 16)),
    ("bilinear", True, (40, 11)),
    ("bilinear", False, (16, 16)),
    ("bilinear", False, (40, 11)),
    ("bicubic", True, (16, 16)),
    ("bicubic", True, (40, 11)),
    ("bicubic", False, (16, 40)),
    ("bicubic", False, (9, 11)),
]
BOXES = [(2, 3, 20, 17), (0, 0, 7, 31)]  # top, left, height, width

AFFINES = [  # degrees, (right, down) in pixels, scale
    (13.0, (2.0, -3.0), 0.85),
    (-40.0, (-1.5, 0.25), 1.3),
]

JITTERS = [  # factors of brightness, contrast, saturation, the shift of the hue; their order
    ((0.7, 1.3, 0.6, 0.08), (0, 1, 2, 3)),
    ((1.35, 0.65, 1.4, -0.1), (3, 2, 0, 1)),
    ((1.2, 1.4, 0.7, 0.3), (2, 3, 1, 0)),
    ((0.6, 0.8, 1.9, -0.4), (1, 0, 3, 2)),
]

OPERATIONS = [  # of the policies: torchvision's name, a magnitude for each picture
    ("Identity", (0.0, 0.0)),
    ("ShearX", (0.09, -0.73)),
    ("ShearY", (0.21, -0.4)),
    ("TranslateX", (3.6, -5.2)),
    ("TranslateY", (4.9, -2.3)),
    ("Rotate", (9.0, -126.0)),
    ("Brightness", (0.27, -0.6)),
    ("Color", (0.9, -0.3)),
    ("Contrast", (0.27, -0.9)),
    ("Sharpness", (0.9, -0.45)),
    ("Posterize", (7.0, 3.0)),
    ("Solarize", (0.7, 0.3)),
    ("AutoContrast", (0.0, 0.0)),
    ("Equalize", (0.0, 0.0)),
]
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
STEPS = 31

DRAWS = 2000
CROPS = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}
ERASED = {"scale": (0.02, 0.33), "ratio": (0.3, 3.3)}
FALLBACKS = [((10, 100), (1.0, 1.0)), ((100, 10), (1.0, 1.0)), ((30, 33), (2.0, 2.0))]  # size, scale: nothing fits
ALPHA = 0.8
