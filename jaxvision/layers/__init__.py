"""Flax modules shared by two or more models."""

from jaxvision.layers.conv import conv2d
from jaxvision.layers.norm import BatchNorm

__all__ = ["BatchNorm", "conv2d"]
