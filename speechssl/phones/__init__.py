"""Phones: from text through espeak, their articulatory features, and the way from one inventory to another."""
