"""What is wrong with a file of bars, for the person who gave it."""


class BadFileError(ValueError):
    """A file that cannot be read or written as bars: names the file, what is wrong with it, and the remedy."""
