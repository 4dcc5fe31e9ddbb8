"""The kinds of models: the form of their specs, what they need, an example.

`models/loading.py` has the loader of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iqattack import plugins


@dataclass(frozen=True)
class ModelText:
    """One kind of model.

    name: of the kind. form: of its specs. summary: one line. about: what it is and needs, in two or
    three sentences. spec: an example. given: options that go with it on a command line. options:
    the meaning of the options in a spec, by their form. template: its name in `iqattack models
    template`.
    """

    name: str
    form: str
    summary: str
    about: str
    spec: str
    given: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    template: str | None = None


_UNDECLARED = "--score-range 0,100 --no-lower-better"

MODELS: dict[str, ModelText] = {
    text.name: text
    for text in (
        ModelText(
            "builtin",
            "builtin",
            "a small network that ships with the package, trained on pseudo-MOS; iqattack models "
            "builtin",
            "Ships with iqattack, so that you can try attacks without any weights. It was trained "
            "on full-reference measures, not on opinions of people.",
            "builtin",
        ),
        ModelText(
            "cnniqa",
            "cnniqa:WEIGHTS",
            "CNNIQA (Kang et al., CVPR 2014), weights as a PyTorch state dict",
            "The network of Kang et al. with your weights, a PyTorch state dict, which is loaded "
            "without running code. 0 to 100, lower is better, as trained on the DMOS of LIVE; "
            "differentiable.",
            "cnniqa:weights.pth",
        ),
        ModelText(
            "pyiqa",
            "pyiqa:NAME[,option=value]",
            "a no-reference metric of pyiqa (Chen & Mo, IQA-PyTorch)",
            "Any no-reference metric of the package, with its range and direction. Needs pip "
            "install 'iqattack[pyiqa]'; pyiqa downloads the weights at first use, unless you give "
            "them as a file.",
            "pyiqa:musiq",
            options={
                "option=value": "an argument of pyiqa.create_metric, such as "
                "pretrained_model_path=FILE"
            },
        ),
        ModelText(
            "onnx",
            "onnx:FILE[,option=value]",
            "an ONNX graph: index=K, softmax, expectation=1..10, output=NAME",
            "A graph with one image input, run by ONNX Runtime. Size, layout and channels are read "
            "from the graph; --input says which values it expects. Needs pip install "
            "'iqattack[onnx]'.",
            "onnx:nima.onnx,expectation=1..10",
            "--input imagenet",
            {
                "output=NAME": "the output that holds the score, where the graph has several",
                "softmax": "softmax over the classes, before index or expectation",
                "index=K": "the score is class K, from 0, or from the end if negative",
                "expectation=A..B": "the mean of A, …, B under the class probabilities",
                "mean": "the mean over all other axes, for patch scores and maps",
                "batch=N": "images per call of the graph",
            },
        ),
        ModelText(
            "command",
            "command:CMD",
            "a program that speaks JSON lines or, with {image}, runs once per picture",
            "A program in any language. With {image} in the command, it runs once per picture and "
            "prints the score; without, it is started once and answers one JSON object per line.",
            "command:./score {image}",
            _UNDECLARED,
            template="command",
        ),
        ModelText(
            "http",
            "http(s)://HOST/PATH[#option=value&…]",
            "a service that scores pictures",
            "Each picture is sent as a PNG file by POST; the answer is JSON with the score. "
            "Describe anything that differs after the # or in a file (iqattack models toml). Needs "
            "pip install 'iqattack[http]'.",
            "http://127.0.0.1:8000/score",
            _UNDECLARED,
            {
                "image=WHERE": "where the image goes in the request: raw, multipart:FIELD, "
                "json:PATH or data-url:PATH",
                "score=PATH": "where the score is in the JSON response",
                "score_range=LO,HI": "the range of the scores",
                "lower_better=true|false": "whether a low score means good quality",
            },
            "service",
        ),
        ModelText(
            "toml",
            "FILE.toml",
            "a service or a command, described in a file",
            "Everything that a service or a command needs: headers, body, credentials from the "
            "environment, rate, price, range and direction.",
            "service.toml",
            template="service",
        ),
        ModelText(
            "file",
            "FILE.py:factory",
            "what a function in a Python file returns",
            "The function is called once and returns a model: anything that takes images and "
            "returns a score for each. --input says how it takes its images.",
            "my_model.py:load",
            f"--input float01 {_UNDECLARED}",
            template="torch",
        ),
        ModelText(
            "module",
            "package.module:factory",
            "what a function in an importable module returns",
            "Like FILE.py:factory, from a module that Python can import.",
            "my_package.models:load",
            f"--input float01 {_UNDECLARED}",
            template="torch",
        ),
        ModelText(
            "defended",
            "defended(DEFENCE):MODEL",
            "any of these behind a defence; iqattack defences",
            "A model behind defences, as with --defence DEFENCE --model MODEL, for commands "
            "without that option. What the model needs and declares is unchanged.",
            "defended(jpeg:75):builtin",
        ),
    )
}

# Kinds whose specs begin with their names, which no installed package can take.
NAMED = ("builtin", "cnniqa", "pyiqa", "onnx", "command")


def model_kinds() -> list[tuple[str, str]]:
    """(form of the spec, description on one line) of every kind of model, installed ones too.

    The latter are not imported: a package of models may take long, and may print anything.
    """
    found = [(text.form, text.summary) for text in MODELS.values()]
    for name, point in sorted(plugins.installed("iqattack.models").items()):
        if name not in NAMED:  # otherwise the built-in one takes precedence
            found.append((name, f"{point.value}, installed"))
    return found
