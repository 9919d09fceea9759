"""LICENSE.md of a bundle: what is known of the terms of weights, data, teacher and code, and what is not."""

from __future__ import annotations

from conaclip_edge.bundle.card.origin import adopted_family, data_licence
from conaclip_edge.bundle.manifest import Manifest

LICENCE = "LICENSE.md"


def licence_text(manifest: Manifest) -> str:
    """Write the licence file of a bundle from what its manifest records."""
    weights, source = _terms(manifest)
    return f"""\
# Licences of {manifest.name}

No single licence covers this folder. What follows is what was recorded when it was made; it is no legal advice.

## Weights

{weights}

## Data

{data_licence(manifest)}

The golden pictures named `held-out-*` are of this data set, under the same terms.

{source}

## Code and the other files

The code in README.md, `kotlin/` and `swift/`, and the golden pictures that are not named `held-out-*`, are of
conaclip-edge: Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0

Runtimes are not part of this folder and have their own: ONNX Runtime MIT, ExecuTorch BSD-3-Clause,
swift-transformers, DJL and USearch Apache-2.0.
"""


def _terms(manifest: Manifest) -> tuple[str, str]:
    """Return what is known of the terms of the weights, and the section on the model they come from."""
    family = adopted_family(manifest)
    if family:
        weights = f"""\
The exported files hold the weights of `{manifest.name}`, a {family} that was exported as it was. Its licence was not
recorded: read it where you got the model."""
        return (
            weights,
            f"""\
## Model

`tokenizer.json` is made of the tokenizer of `{manifest.name}`, under the same terms as the weights.""",
        )
    teacher = manifest.training.get("teacher", {})
    terms = teacher.get("licence") or (
        "its licence was not recorded. Read it where you got the teacher; a model trained on a teacher's outputs may "
        "fall under the teacher's terms."
    )
    name = f"`{teacher['name']}`" if teacher.get("name") else "not recorded"
    weights = """\
The exported files hold weights that were learned from the data and the teacher below. Nobody stated a licence for
the weights themselves: the terms of data and teacher decide what you may do with them."""
    return (
        weights,
        f"""\
## Teacher

Teacher: {name}; {terms}

`tokenizer.json` is made of the teacher's tokenizer, under the teacher's terms.""",
    )
