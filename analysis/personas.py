"""Personas in prompts: find one, write it in plain sentences or in W++, exchange it for another.

A prompt has its persona in a header before `<START>`, as `train_fn.formats` writes it, or in a block of W++,
the notation in which people describe characters to such models:

    Aria's Persona: Species: elf; mage. She guards an old library.
    <START>

    [character("Aria")
    {
    Species("elf" + "mage")
    }]
"""

import re
from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "wpp"]
FREE = "Description"
"""The trait that holds sentences of no other trait, one value each."""

_HEADER_START = re.compile(r"^(?P<name>[^\n:]{1,40})'s Persona:[ \t]*", re.MULTILINE)
_HEADER_END = re.compile(r"\s*^(?:<START>|Scenario:|World Scenario:)", re.MULTILINE)
_BLOCK = re.compile(
    r"\[\s*character\(\s*\"(?P<name>[^\"\n]*)\"\s*\)\s*\{(?P<traits>.*?)\}\s*\]", re.DOTALL | re.I
)
_TRAIT = re.compile(r"(?P<key>[\w' -]+?)\s*\((?P<values>\s*\"[^\"]*\"(?:\s*\+\s*\"[^\"]*\")*\s*)\)")
_VALUE = re.compile(r"\"([^\"]*)\"")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PLAIN_TRAIT = re.compile(r"^(?P<key>[A-Z][\w' -]{0,30}): (?P<values>[^:]+)\.$")


@dataclass(frozen=True)
class Persona:
    """What a prompt says of the one who answers."""

    name: str
    traits: tuple[tuple[str, tuple[str, ...]], ...]
    """Key and values of each trait, in order; sentences stand under `FREE`."""


@dataclass(frozen=True)
class Place:
    """Where in a prompt a persona stands."""

    begin: int
    end: int
    persona: Persona


def find_persona(prompt: str) -> Place | None:
    """Find the persona in a prompt; None when it has none, or an empty one."""
    header = _HEADER_START.search(prompt)
    if header is not None:
        end = _HEADER_END.search(prompt, header.end())
        stop = end.start() if end is not None else (prompt + "\n").index("\n", header.end())
        text = prompt[header.end() : stop]
        place = Place(header.end(), stop, parse_persona(text, header["name"]))
    else:
        block = _BLOCK.search(prompt)
        if block is None:
            return None
        place = Place(block.start(), block.end(), parse_persona(block[0], ""))
    return place if place.persona.traits else None


def parse_persona(text: str, name: str) -> Persona:
    """Read a persona in either notation.

    Args:
        text: W++, or sentences; `Key: one; two.` is a trait in sentences.
        name: Whose persona it is; W++ says it itself.
    """
    block = _BLOCK.search(text)
    if block is not None:
        traits = [
            (t["key"].strip(), tuple(_VALUE.findall(t["values"]))) for t in _TRAIT.finditer(block["traits"])
        ]
        return Persona(block["name"] or name, tuple(traits))
    found: list[tuple[str, tuple[str, ...]]] = []
    for sentence in _SENTENCE.split(text.strip()):
        trait = _PLAIN_TRAIT.match(sentence)
        if trait is not None:
            found.append((trait["key"], tuple(value.strip() for value in trait["values"].split(";"))))
        elif found and found[-1][0] == FREE:
            found[-1] = (FREE, (*found[-1][1], sentence))
        elif sentence:
            found.append((FREE, (sentence,)))
    return Persona(name, tuple(found))


def write_persona(persona: Persona, style: Style) -> str:
    """Write a persona in plain sentences or in W++; `parse_persona` reads both back.

    W++ has no way to write a double quote inside a value: it becomes a single one.
    """
    if style == "wpp":
        lines = [f"{key}({' + '.join(_quoted(value) for value in values)})" for key, values in persona.traits]
        return "\n".join([f"[character({_quoted(persona.name)})", "{", *lines, "}]"])
    return " ".join(
        " ".join(values) if key == FREE else f"{key}: {'; '.join(values)}." for key, values in persona.traits
    )


def with_persona(prompt: str, place: Place, traits: Persona, style: Style) -> str:
    """Return a prompt with the traits of a persona in place of its own.

    The name stays, because the dialogue goes on to use it.
    """
    persona = Persona(place.persona.name, traits.traits)
    return prompt[: place.begin] + write_persona(persona, style) + prompt[place.end :]


def _quoted(value: str) -> str:
    return '"' + value.replace('"', "'") + '"'
