"""Recurrent networks: of images read row by row, of text, and from one text to another."""
