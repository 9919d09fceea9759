"""What a bundle was made of, for the model card and the licence file: a student, or a model of others as it is."""

from __future__ import annotations

from conaclip_edge.bundle.manifest import Manifest

_NO_LICENCE = "The data set states no licence: find out what it allows before you publish anything."


def adopted_family(manifest: Manifest) -> str | None:
    """Return the family of a model that was exported as it was; None for a student that was distilled."""
    adopted = manifest.training.get("adopted")
    return str(adopted["family"]) if isinstance(adopted, dict) and "family" in adopted else None


def data_licence(manifest: Manifest) -> str:
    """Return what is known of the terms of the data."""
    return manifest.licence or _NO_LICENCE


def origin(manifest: Manifest, licence_file: str) -> tuple[str, str]:
    """Write the model card's section on where the weights come from.

    Args:
        manifest: of the bundle.
        licence_file: name of the file with the terms.

    Returns:
        The section's title and its text.
    """
    training = manifest.training
    counts = training.get("parameters", {})
    size = f"{counts['image']:,} + {counts['text']:,} parameters (picture + text)" if counts else "size not recorded"
    family = adopted_family(manifest)
    if family:
        return (
            "Model and data",
            f"""\
- model: {manifest.name}, a {family}, {size}, exported as it was: nothing was distilled or trained here
- data: {manifest.files[0].gate.dataset}, of which some pictures calibrated the files and others checked them.
  {data_licence(manifest)}
- the golden pictures named `held-out-*` are from the data set, under the same terms
- the weights are under the licence of the model they were taken from, see `{licence_file}`""",
        )
    teacher = training.get("teacher", {}).get("name", "not recorded")
    terms = training.get("graph", [])
    graph = f", distilled with {len(terms)} terms of the interaction graph" if terms else ""
    data = training.get("data", {})
    name = data.get("name") or manifest.files[0].gate.dataset
    amount = f", {data['train_pictures']} train pictures" if "train_pictures" in data else ""
    return (
        "Teacher, student, data",
        f"""\
- teacher: {teacher}
- student: {manifest.name}, {size}{graph}
- data: {name}{amount}. {data_licence(manifest)}
- the golden pictures named `held-out-*` are from the data set, under the same terms
- the weights were learned from the data and the teacher: their licences decide what you may do with them, see
  `{licence_file}`""",
    )
