"""The numbers of sunspots in each year from 1700 to 2008, the series that autoregression was invented on.

Yule 1927, "On a Method of Investigating Periodicities in Disturbed Series". The numbers are those of the National
Geophysical Data Center, as statsmodels publishes them in the public domain.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".csv")


def load() -> tuple[np.ndarray, np.ndarray]:  # int [N], float64 [N]
    """Returns the years and the numbers."""
    years, numbers = np.loadtxt(FILE, delimiter=",", skiprows=1, unpack=True)
    return years.astype(int), numbers
