"""Names of the classes of the vision tasks, where the names of folders are not good prompts.

CLIP compares an image with a sentence about each class, so the names decide its score without
training. They are those that CLIP's authors published (data/prompts.md of openai/CLIP, spelling
included), which papers on merging CLIP models use, too.
"""

from __future__ import annotations

import re
from types import MappingProxyType

_EUROSAT = MappingProxyType(
    {
        "annualcrop": "annual crop land",
        "forest": "forest",
        "herbaceousvegetation": "brushland or shrubland",
        "highway": "highway or road",
        "industrial": "industrial buildings or commercial buildings",
        "pasture": "pasture land",
        "permanentcrop": "permanent crop land",
        "residential": "residential buildings or homes or apartments",
        "river": "river",
        "sealake": "lake or sea",
    }
)

_GTSRB = (
    "red and white circle 20 kph speed limit",
    "red and white circle 30 kph speed limit",
    "red and white circle 50 kph speed limit",
    "red and white circle 60 kph speed limit",
    "red and white circle 70 kph speed limit",
    "red and white circle 80 kph speed limit",
    "end / de-restriction of 80 kph speed limit",
    "red and white circle 100 kph speed limit",
    "red and white circle 120 kph speed limit",
    "red and white circle red car and black car no passing",
    "red and white circle red truck and black car no passing",
    "red and white triangle road intersection warning",
    "white and yellow diamond priority road",
    "red and white upside down triangle yield right-of-way",
    "stop",
    "empty red and white circle",
    "red and white circle no truck entry",
    "red circle with white horizonal stripe no entry",
    "red and white triangle with exclamation mark warning",
    "red and white triangle with black left curve approaching warning",
    "red and white triangle with black right curve approaching warning",
    "red and white triangle with black double curve approaching warning",
    "red and white triangle rough / bumpy road warning",
    "red and white triangle car skidding / slipping warning",
    "red and white triangle with merging / narrow lanes warning",
    "red and white triangle with person digging / construction / road work warning",
    "red and white triangle with traffic light approaching warning",
    "red and white triangle with person walking warning",
    "red and white triangle with child and person walking warning",
    "red and white triangle with bicyle warning",
    "red and white triangle with snowflake / ice warning",
    "red and white triangle with deer warning",
    "white circle with gray strike bar no speed limit",
    "blue circle with white right turn arrow mandatory",
    "blue circle with white left turn arrow mandatory",
    "blue circle with white forward arrow mandatory",
    "blue circle with white forward or right turn arrow mandatory",
    "blue circle with white forward or left turn arrow mandatory",
    "blue circle with white keep right arrow mandatory",
    "blue circle with white keep left arrow mandatory",
    "blue circle with white arrows indicating a traffic circle",
    "white circle with gray strike bar indicating no passing for cars has ended",
    "white circle with gray strike bar indicating no passing for trucks has ended",
)


def label(task: str, folder: str) -> str:
    """Return the name of the class of a folder.

    Args:
        task: Name of the task.
        folder: Path of the class's folder within its split, such as "00014" or "b/bakery/shop".

    >>> label("gtsrb", "00014"), label("resisc45", "golf_course")
    ('stop', 'golf course')
    >>> label("eurosat", "SeaLake"), label("sun397", "b/bakery/shop"), label("mnist", "3 - three")
    ('lake or sea', 'bakery shop', '3')
    """
    name = re.sub(r"[/_]+", " ", folder).strip()
    match task:
        case "eurosat":
            return _EUROSAT.get(name.replace(" ", "").lower(), name)
        case "gtsrb" if name.isdecimal() and int(name) < len(_GTSRB):
            return _GTSRB[int(name)]
        case "mnist":
            return name.split(" - ")[0]  # as torchvision calls them
        case "sun397":
            return re.sub(r"^[a-z] ", "", name)  # its folders lie under their first letters
    return name
