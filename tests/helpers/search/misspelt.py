"""Misspelt queries and what they are taken for, by the command and by the page alike."""

WORDS = ["strawberry", "balloon", "air", "hot", "bicycle", "walk"]
CORRECTIONS = {
    "hot air baloon": "hot air balloon",
    "strwberry": "strawberry",
    "bycicle": "bicycle",
    "Strawberry": "Strawberry",
    "walking balloons": "walking balloons",
    "xqzt -strawbery 12ballon": "xqzt -strawbery 12ballon",
}
