"""Decide by `.gitattributes` which files are large ones, as the Hub does."""

from fnmatch import fnmatchcase

ATTRIBUTES = ".gitattributes"
LARGE = "filter=lfs diff=lfs merge=lfs -text"
DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} {LARGE}\n"
    for pattern in (
        *(
            "*.7z",
            "*.arrow",
            "*.bin",
            "*.bz2",
            "*.ckpt",
            "*.ftz",
            "*.gguf",
            "*.gz",
            "*.h5",
            "*.joblib",
            "*.jpg",
        ),
        *("*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet"),
        *(
            "*.pb",
            "*.pickle",
            "*.pkl",
            "*.png",
            "*.pt",
            "*.pth",
            "*.rar",
            "*.safetensors",
            "saved_model/**/*",
        ),
        *("*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*"),
    )
)


def large_patterns(attributes: str) -> list[str]:
    """Read the patterns of large files from the text of `.gitattributes`."""
    return [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line.split()]


def is_large(path: str, patterns: list[str]) -> bool:
    """Match as git does: a pattern without a slash is for the file's name, another for its whole path."""
    name = path.rsplit("/", 1)[-1]
    return any(fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)
