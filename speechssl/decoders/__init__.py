"""From a recogniser's output to what was said: its symbols, and ways to choose among them."""
