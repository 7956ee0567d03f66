"""Rows of dialogue data become conversations, conversations become one example per reply.

Accepted rows, told apart by their keys: `{"prompt", "generation"}`, `{"input", "output"[, "reward"]}`,
`{"messages": [{"role", "content"}]}` and ShareGPT's `{"conversations": [{"from", "value"}]}`.
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from train_fn.config import PromptFormat
from train_fn.surrogates import half_pair

Speaker = Literal["user", "bot"]
ACCEPTED = '{"prompt","generation"}, {"input","output","reward"}, {"messages"} or {"conversations"}'
_SPEAKERS: Mapping[str, Speaker | Literal["system"]] = {
    "user": "user",
    "human": "user",
    "assistant": "bot",
    "gpt": "bot",
    "bot": "bot",
    "model": "bot",
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says at a time."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue, or one prompt with its reply."""

    place: str
    """Where it was read: `file:line`."""
    source: int
    """Index into `data.sources`."""
    turns: tuple[Turn, ...]
    persona: str = ""
    """What the system says before anybody speaks."""
    char: str = "Bot"
    notes: tuple[tuple[int, str], ...] = ()
    """What the system says later, each with the number of the turn that it stands before."""
    is_rendered: bool = False
    """The first turn is a whole prompt, already in its final form."""
    is_whole: bool = False
    """No other conversation is an earlier or later moment of this one."""


@dataclass(frozen=True, slots=True)
class Example:
    """One reply and what it replies to."""

    id: str
    """`file:line#reply`, replies counted from 0 within their conversation."""
    group: str
    """Examples of one group stay on one side of the split."""
    source: int
    prompt: str
    reply: str
    last_message: str
    """The text replied to, without its history where that can be told apart."""
    history: tuple[Turn, ...]
    """All turns that `prompt` holds, for chat templates."""
    persona: str
    is_shortened: bool = False
    """More turns came before than `data.max_context_turns` lets `prompt` hold."""
    is_rendered: bool = False
    """The row has its prompt as one text."""


class RowError(ValueError):
    """A row is not one of the accepted formats; the reader adds where it stands."""


def conversation(row: Any, place: str, source: int) -> Conversation | None:
    """Read one row.

    Returns:
        The conversation, or None for a row whose reward is not 1.

    Raises:
        RowError: The row has none of the accepted forms.
    """
    if not isinstance(row, dict):
        raise RowError(f"is {type(row).__name__}, not an object of {ACCEPTED}")
    match row:
        case {"prompt": str(prompt), "generation": str(reply)}:
            return _pair(prompt, reply, place, source)
        case {"input": str(prompt), "output": str(reply)}:
            return _pair(prompt, reply, place, source) if row.get("reward", 1) in (1, 1.0, "1") else None
        case {"messages": list(messages)}:
            turns = [_turn(n, m, "role", "content") for n, m in enumerate(messages, 1)]
        case {"conversations": list(messages)}:
            turns = [_turn(n, m, "from", "value") for n, m in enumerate(messages, 1)]
        case _:
            raise RowError(
                f"has the keys {sorted(map(str, row))}; accepted are {ACCEPTED}, with texts as values"
            )
    spoken: list[Turn] = []
    told: list[tuple[int, str]] = []
    for speaker, text in turns:
        if speaker == "system":
            told.append((len(spoken), text))
        else:
            spoken.append(Turn(speaker, text))
    persona = "\n".join(text for before, text in told if before == 0)
    notes = tuple(note for note in told if note[0] > 0)
    char = row.get("char", "Bot")
    name = _encodable(char) if isinstance(char, str) else "Bot"
    return Conversation(place, source, tuple(spoken), persona, name, notes)


def _pair(prompt: str, reply: str, place: str, source: int) -> Conversation:
    turns = (Turn("user", _encodable(prompt)), Turn("bot", _encodable(reply)))
    return Conversation(place, source, turns, is_rendered=True)


def _encodable(text: str) -> str:
    """Return a text as it is; JSON can hold half of an emoji, and no tokenizer reads one."""
    if half := half_pair(text):
        raise RowError(f"has a text with {half}, half of a surrogate pair, which is no UTF-8")
    return text


def _turn(number: int, message: Any, role_key: str, text_key: str) -> tuple[Speaker | Literal["system"], str]:
    role, text = (message.get(role_key), message.get(text_key)) if isinstance(message, dict) else (None, None)
    if not isinstance(role, str) or not isinstance(text, str):
        missing = text_key if isinstance(role, str) else role_key
        raise RowError(f"has no text as {missing!r} of message {number}")
    if role.lower() not in _SPEAKERS:
        known = ", ".join(sorted(_SPEAKERS))
        raise RowError(f"has the unknown {role_key} {role!r} in message {number}; known are {known}")
    return _SPEAKERS[role.lower()], _encodable(text)


def render_prompt(history: Sequence[Turn], persona: str, char: str, prompt_format: PromptFormat) -> str:
    """Write the text a reply follows.

    `pygmalion` is the format of the Pygmalion models: persona header, `<START>`, one line per turn, and the
    character's name to be continued. `plain` has one line per turn and no names. For `chat_template` the
    tokenizer renders; this gives the plain text, by which duplicates are known.
    """
    if prompt_format != "pygmalion":
        return "".join(f"{text}\n" for text in [persona, *(turn.text for turn in history)] if text)
    header = f"{char}'s Persona: {persona}\n" if persona else ""
    names = {"user": "You", "bot": char}
    lines = "".join(f"{names[turn.speaker]}: {turn.text}\n" for turn in history)
    return f"{header}<START>\n{lines}{char}:"


def examples(
    dialogue: Conversation, prompt_format: PromptFormat, max_context_turns: int, ends: Sequence[str] = ()
) -> Iterator[Example]:
    """Yield one example per reply of the bot that follows something.

    Args:
        dialogue: The conversation.
        prompt_format: How prompts are written.
        max_context_turns: Turns before the reply that the prompt holds; 0 keeps all. A chat template gets
            one less where they would begin with the bot.
        ends: Marks that may stand at the end of a reply; where it is history, it has none.
    """
    group = _group(dialogue, ends)
    number = 0
    for index, turn in enumerate(dialogue.turns):
        if turn.speaker != "bot" or index == 0:
            continue
        start = max(0, index - max_context_turns) if max_context_turns else 0
        if prompt_format == "chat_template" and start > 0:  # templates refuse a bot that speaks first
            start = next((i for i in range(start, index) if dialogue.turns[i].speaker == "user"), start)
        history = dialogue.turns[start:index]
        notes = (text for before, text in dialogue.notes if before <= index)
        persona = "\n".join(text for text in (dialogue.persona, *notes) if text)
        if dialogue.is_rendered:
            prompt, reply = dialogue.turns[0].text, turn.text
        else:
            prompt = render_prompt(history, persona, dialogue.char, prompt_format)
            reply = f" {turn.text.strip()}" if prompt_format == "pygmalion" else turn.text.strip()
        yield Example(
            id=f"{dialogue.place}#{number}",
            group=group,
            source=dialogue.source,
            prompt=prompt,
            reply=reply,
            last_message=_last_message(prompt) if dialogue.is_rendered else history[-1].text,
            history=history,
            persona=persona,
            is_shortened=start > 0,
            is_rendered=dialogue.is_rendered,
        )
        number += 1


def without_ends(reply: str, ends: Sequence[str]) -> str:
    """Return a reply without the marks at its end, in the order in which they are given."""
    for end in ends:
        stripped = reply.rstrip()
        while end and stripped.endswith(end):
            reply = stripped = stripped.removesuffix(end).rstrip()
    return reply


def _group(dialogue: Conversation, ends: Sequence[str]) -> str:
    """Return a hash that all examples of one conversation share.

    Rows may be moments of one growing dialogue. They share how it opens, and so does their group: persona and
    first exchange, for a greeting alone opens many a dialogue. Only a moment that has lost its opening is on
    its own.
    """
    texts = [without_ends(turn.text, ends) for turn in dialogue.turns]
    if dialogue.is_rendered:
        text = _opening(*texts)
    elif dialogue.is_whole:
        text = "\n".join(turn.text for turn in dialogue.turns)
    else:
        text = "\n".join([dialogue.persona, *texts[:2]])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_SPOKEN = re.compile(r"^(?!.*(?:Persona|Scenario):)[\w' .-]{1,40}: \S.*$", re.MULTILINE)
"""A line of dialogue: a name, a colon, and what is said."""
_CUE = re.compile(r"\n[\w' .-]{1,40}:\s*$")
"""What ends a dialogue's prompt: the name of who speaks next."""


def _is_dialogue(prompt: str) -> bool:
    return bool(_CUE.search(prompt) and _SPOKEN.search(prompt))


def _opening(prompt: str, reply: str) -> str:
    """Return a rendered dialogue to the end of its second spoken line, which may be the reply.

    Any other prompt is its own opening.
    """
    if not _is_dialogue(prompt):
        return prompt
    text = f"{prompt.rstrip()} {reply.strip()}"
    found = list(itertools.islice(_SPOKEN.finditer(text, max(prompt.rfind("<START>"), 0)), 2))
    return text[: found[-1].end()].rstrip() if found else text


def _last_message(prompt: str) -> str:
    """Return the last spoken line of a rendered dialogue; any other prompt is one message."""
    if not _is_dialogue(prompt):
        return prompt
    *_, last = _SPOKEN.finditer(prompt)
    return _CUE.sub("", prompt[last.start() :])
