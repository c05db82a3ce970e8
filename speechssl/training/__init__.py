"""One visible training loop for every objective; see `loop.train`."""
