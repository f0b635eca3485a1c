"""Recurrent networks: of images read row by row, and of text."""
