"""A text that is the same everywhere: sentences of a small grammar, from a counter."""


def sentences(count: int) -> list[list[str]]:
    """Words of a linear congruential generator, the first ones much more often."""
    words, state, found = list("abcdefghijkl"), 12345, []
    for _ in range(count):
        length = 1 + (state >> 16) % 7
        said = []
        for _ in range(length):
            state = (state * 1103515245 + 12345) % 2**31
            said.append(words[((state >> 16) % 12) * ((state >> 8) % 12) // 12])
        state = (state * 1103515245 + 12345) % 2**31
        found.append(said)
    return found
