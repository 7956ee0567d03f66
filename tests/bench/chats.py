"""Some of the bundled human chats, as a user's own file."""

import json
from pathlib import Path

from train_fn import sources
from train_fn.config import DataConfig
from train_fn.formats import Conversation

_ROLES = {"user": "user", "bot": "assistant"}


def write_chats(file: Path, every: int) -> Path:
    """Write each `every`th bundled chat as a row of messages and return the file."""
    chats = list(sources.read(DataConfig(sources=("bundled:chitchat",))))[::every]
    with file.open("w") as opened:
        for chat in chats:
            assert isinstance(chat, Conversation)
            messages = [{"role": _ROLES[turn.speaker], "content": turn.text} for turn in chat.turns]
            opened.write(json.dumps({"messages": messages}) + "\n")
    return file
