"""Waveform to sequences, symbol by symbol: text or units."""
