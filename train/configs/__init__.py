"""Runs that can be repeated, one file each: command, hardware, time, score."""
