"""Flax modules shared by two or more models."""

from jaxvision.layers.conv import conv2d
from jaxvision.layers.norm import BatchNorm
from jaxvision.layers.recurrent import GRU, LSTM, RNN
from jaxvision.layers.regularize import StochasticDepth

__all__ = ["GRU", "LSTM", "RNN", "BatchNorm", "StochasticDepth", "conv2d"]
