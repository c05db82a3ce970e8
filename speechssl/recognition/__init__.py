"""Recognisers: an encoder, a head and a vocabulary as one thing that writes down what is said."""
