"""The one exception that means: the user's input is wrong."""


class InputError(ValueError):
    """Say what the user gave, which rule it breaks and where to change it.

    Commands print it as one line and exit with code 2. Every other exception is a bug and keeps its
    traceback.
    """
