"""Transformers upon images."""
