"""`medseg label MODEL --accept`: suggestions become names, with the colours and codes of their tissues."""

from __future__ import annotations

from collections import Counter

from medseg.batch.progress import say
from medseg.cli.label import Changes
from medseg.errors import ConfigError
from medseg.labels.known_tissues import KNOWN
from medseg.model.model import Model


def accepted(model: Model) -> Changes:
    """The changes that give each label without a name what is suggested for it.

    Labels of the same suggestion are numbered and keep their own colours, by which they can be told apart.

    Raises:
        ConfigError: there are labels without a name and not one suggestion.
    """
    unnamed = [label.number for label in model.table if not label.is_named]
    found = model.suggestions
    if unnamed and not found:
        raise ConfigError(
            f"--accept: found no suggestion for the labels {', '.join(map(str, unnamed))}, expected a CT or T1 brains; "
            'look at report.html and give names: --name 3="white matter"'
        )
    _say_what_is_left(unnamed, found)
    counts, seen = Counter(found.values()), Counter[str]()
    names, colors, codes = {}, {}, {}
    for number, name in sorted(found.items()):
        tissue = KNOWN[name]
        seen[name] += 1
        is_one = counts[name] == 1
        names[number] = name if is_one else f"{name} {seen[name]}"
        if is_one:
            colors[number] = tissue.color
        if tissue.code is not None:
            codes[number] = tissue.code
    return Changes(names, colors, codes, {})


def _say_what_is_left(unnamed: list[int], found: dict[int, str]) -> None:
    if not unnamed:
        say("every label has a name already, nothing to accept")
    left = [str(number) for number in unnamed if number not in found]
    if left and found:
        say(f"nothing is certain about the labels {', '.join(left)}: they keep their numbers for names")
