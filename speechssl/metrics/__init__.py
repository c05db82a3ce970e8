"""Measures of units, text and speech: numpy in, numbers out."""
