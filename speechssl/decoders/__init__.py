"""From an encoder's frames to what was said, or to units: symbols, and ways to choose among them."""
