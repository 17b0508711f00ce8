"""Pixel-wise segmentation, small enough to read in a minute."""
