"""Where the model in this package lies."""

from pathlib import Path


def bundled_folder() -> Path:
    """Return the folder of the bundled model."""
    return Path(__file__).parent / "bundled" / "model"
