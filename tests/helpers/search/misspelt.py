"""Misspelt queries and what they are taken for, where a correction always finds more."""

WORDS = ["strawberry", "balloon", "air", "hot", "bicycle", "walk"]
CORRECTIONS = {
    "hot air baloon": "hot air balloon",
    "strwberry": "strawberry",
    "bycicle": "bicycle",
    "Strawberry": "Strawberry",
    "walking balloons": "walking balloons",
    "xqzt -strawbery 12ballon": "xqzt -strawbery 12ballon",
}
RIGHT = (  # none of them a single piece of the demo's vocabulary
    *("scooter", "goggles", "koala", "receipt", "poodle", "grandpa", "handbag", "ramen", "doggo", "kyoto"),
    *("Fahrrad", "bicicletta", "voiture", "Kinderwagen", "flatbread", "supervillain", "NASA", "don't", "t-shirt"),
)
