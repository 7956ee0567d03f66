"""What a file or a command line may hold that it should not: strategies for tests that feed it to readers."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

numbers = st.integers() | st.integers(-5, 5) | st.floats() | st.sampled_from([10**400, -(2**70), 1e308])
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORST = (b"[" * 100_000, b"", b"\xef\xbb\xbf{}", b"\x00" * 20, b'{"a": NaN}', b"1e999", b"9" * 5000)
rubbish = (
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode(errors="replace"))
    | anything.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(WORST)
)


@st.composite
def damaged(draw: st.DrawFn, plain: Any) -> bytes:
    """Draw a JSON text that was right until a value was replaced, removed or added, or the text was cut."""
    value = copy.deepcopy(plain)
    places = list(_places(value))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 2)):
            case 0:
                holder[key] = draw(anything)
            case 1 if isinstance(holder, dict):
                holder.pop(key, None)
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=5))] = draw(anything)
            case _:
                holder.append(draw(anything))
    text = json.dumps(value).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 5)) == 0 else text


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)
