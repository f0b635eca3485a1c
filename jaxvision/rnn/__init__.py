"""Recurrent networks: of images read row by row, of text, from one text to another, of captions and of videos."""
