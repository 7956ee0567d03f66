"""A user's own dialogues, for tests that need a file of them."""

import json
from pathlib import Path


def write_dialogues(file: Path) -> Path:
    """Write 320 short exchanges as JSONL, in one of the accepted formats; return the file."""
    animals = ("cat", "dog", "fox", "owl", "bear", "goat", "hare", "crow", "toad", "newt")
    places = ("garden", "kitchen", "forest", "harbour", "attic", "stable", "meadow", "tower")
    lines = []
    for animal in animals:
        for place in places:
            for hour in range(4):
                asked = f"Did you see the {animal} in the {place} at {hour + 1} o'clock yesterday?"
                told = (
                    f"Yes, the {animal} sat quietly in the {place} for {hour + 3} long hours and watched us."
                )
                lines.append(
                    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
                )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def write_real_dialogues(file: Path, conversations: int = 300) -> Path:
    """Write human conversations of `chitchat-dataset` as a user's own JSONL; return the file."""
    import chitchat_dataset

    lines = []
    for conversation in list(chitchat_dataset.Dataset().values())[:conversations]:
        turns = [" ".join(message["text"] for message in turn) for turn in conversation["messages"]]
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns) if text]
        lines.append(json.dumps({"messages": messages}) + "\n")
    file.write_text("".join(lines))
    return file
