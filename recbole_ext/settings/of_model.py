"""Which class of settings a model has: its own, made of two for a method on an encoder, or read off RecBole's files.

RecBole's models have no class. Theirs is made of properties/model/<Model>.yaml, whose comments say types and choices,
and of what the model's source reads (`config["key"]`). A user's own class without `settings_class` has the keys of its
yaml and of its source, whose values nobody can check.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from recbole_ext.files import recbole_folder
from recbole_ext.settings.base import Flag, ModelSettings, Names, NoneWord, Number, Whole, key
from recbole_ext.settings.place import Place
from recbole_ext.settings.protocol import Protocol
from recbole_ext.settings.training import Training

ACTIVATIONS = ("gelu", "relu", "swish", "tanh", "sigmoid")
# what Config itself works out
WORKED_OUT = frozenset(
    {
        *("device", "single_spec", "eval_type", "MODEL_TYPE", "MODEL_INPUT_TYPE"),
        *("valid_neg_sample_args", "test_neg_sample_args"),
    }
)
_READS = re.compile(r"config(?:_dict)?(?:\[|\.get\()\s*[\"'](\w+)[\"']")
_ASKS = re.compile(r"[\"'](\w+)[\"'] in (?:self\.)?config\b")
_EVALUATED = re.compile(
    r"\beval\([^)\n]*config\[[\"'](\w+)[\"']\]"
)  # a model's class is named so: never run as code
_ENTRY = re.compile(r"^(\w+):[^#\n]*(?:#(.*))?$", re.MULTILINE)
_RANGE = re.compile(r"[Rr]ange in `*\[(.+?)\]|\[('\w+'(?:,\s*'\w+')+)\]\s*$")
_SIZE = re.compile(
    r"(?:^|_)(?:size|layers|heads)$|^(?:kfac|k|rank|num_clusters|n_factors|block_num|kernel_size)$"
)
_LOADERS = {  # keys that RecBole's transforms read, by the name of the transform
    "mask_itemseq": ("mask_ratio", "ft_ratio"),
    "crop_itemseq": ("crop_ratio", "eta"),
    "reorder_itemseq": ("beta",),
}


@functools.cache
def settings_class(model_class: type) -> type[ModelSettings]:
    """The class of a model's settings."""
    own = vars(model_class).get("settings_class")
    if own is not None:
        return own  # type: ignore[no-any-return]
    bases = [settings_class(base) for base in model_class.__bases__ if base is not object]
    if hasattr(model_class, "encoder_name") and not any(
        hasattr(b, "encoder_name") for b in model_class.__bases__
    ):
        bases = [settings_class(_encoder_class(model_class)), *bases]  # what the method says of a key wins
    inherited = _together(model_class.__name__, bases)
    if hasattr(model_class, "encoder_name") and not any("loss_type" in b.model_fields for b in bases[1:]):
        # whatever the encoder's own may be
        loss: Any = (Literal["CE"], key("CE", "the supervised head's loss: no other has actor and critic"))
        inherited = create_model(f"{model_class.__name__}Settings", __base__=inherited, loss_type=loss)
    if not _is_model(model_class):
        return inherited
    fields = fields_of(model_class, inherited.model_fields)
    if not fields:
        return inherited
    return create_model(f"{model_class.__name__}Settings", __base__=inherited, **fields)  # type: ignore[call-overload,no-any-return]


def _encoder_class(model_class: Any) -> type:
    from recbole.utils import get_model

    return getattr(model_class, "encoder_class", None) or get_model(model_class.encoder_name)  # type: ignore[no-any-return]


def _together(name: str, classes: Iterable[type[ModelSettings]]) -> type[ModelSettings]:
    """A class with the keys of all these; of two that know a key the later one's holds."""
    parts = list(dict.fromkeys(cls for cls in classes if cls is not ModelSettings))
    if len(parts) < 2:
        return parts[0] if parts else ModelSettings
    if issubclass(parts[-1], parts[0]):
        return parts[-1]
    together: Any = create_model(f"{name}Settings", __base__=tuple(reversed(parts)))
    together.other_defaults = {key: value for part in parts for key, value in part.other_defaults.items()}
    return together  # type: ignore[no-any-return]


def _is_model(cls: type) -> bool:
    """Whether this class itself may read settings that nobody has declared."""
    root = cls.__module__.partition(".")[0]
    return root not in ("torch", "abc", "builtins", "typing") and not (
        root == "recbole_ext" and not cls.__module__.startswith("recbole_ext.model")
    )


# --- read off files -----------------------------------------------------------------------------------------


def fields_of(model_class: type, known: Iterable[str]) -> dict[str, Any]:
    """Name to (type, declaration) of the keys that yaml and source of a class name and that nothing else declares."""
    name = model_class.__name__
    source = _source(model_class)
    ours = model_class.__module__.startswith("recbole.")
    file = recbole_folder() / "properties" / "model" / f"{name}.yaml"
    text = file.read_text(encoding="utf-8") if ours and file.is_file() else ""
    defaults = {name: _as_number(value) for name, value in _read_yaml(text).items()}
    comments = {found[1]: (found[2] or "").strip() for found in _ENTRY.finditer(text)}
    read = set(_READS.findall(source)) | set(_ASKS.findall(source))
    read |= {extra for extra in _LOADERS.get(str(defaults.get("transform")), ())}
    general = {*Protocol.model_fields, *Training.model_fields, *Place.model_fields, *WORKED_OUT}
    fields = {}
    for wanted in [*defaults, *sorted(read - set(defaults))]:
        if wanted in general and not (wanted == "temperature" and wanted in defaults):
            continue
        if wanted in known and wanted not in defaults:
            continue
        comment = comments.get(wanted, "")
        kind = _kind(wanted, defaults[wanted], comment, source) if wanted in defaults else Any
        if wanted in _EVALUATED.findall(source):
            classes = re.findall(r"^class (\w+)", source, re.MULTILINE)
            kind = Literal[tuple(one for one in classes if one != name)]
        fields[wanted] = (kind, key(defaults.get(wanted), _sentence_of(comment)))
    return fields


def _source(cls: type) -> str:
    """Text of a model's module, of its trainer and of its data set; of an abstract class its own lines alone."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__ == "recbole.model.abstract_recommender":  # of these one alone reads keys of its own
        text = Path(file).read_text(encoding="utf-8") if file and cls.__name__ == "ContextRecommender" else ""
        return text.partition("class ContextRecommender")[2]
    if cls.__module__.startswith("recbole_ext."):
        return ""
    text = Path(file).read_text(encoding="utf-8") if file else _of_cells(cls)
    for place, suffix in (("recbole.trainer", "Trainer"), ("recbole.data.dataset", "Dataset")):
        companion = getattr(sys.modules.get(place), f"{cls.__name__}{suffix}", None)
        if companion is not None:
            try:
                text += inspect.getsource(companion)
            except (OSError, TypeError):
                continue
    return text


def _of_cells(cls: type) -> str:
    """Text of the functions of a class whose module has no file, such as a notebook's, as far as Python has it."""
    texts = []
    for value in vars(cls).values():
        with contextlib.suppress(OSError, TypeError):  # typed at a prompt, or no function
            texts.append(inspect.getsource(inspect.unwrap(value)))
    return "".join(texts)


def _kind(name: str, default: Any, comment: str, source: str) -> Any:
    """The type of a key of RecBole's, by its default, its name and the comment beside it."""
    if name == "selected_features":
        return Names
    if name == "loss_type":
        return _losses(default, comment, source)
    if name == "hidden_act":
        return Literal[ACTIVATIONS]
    if comment.startswith("(bool)") or isinstance(default, bool):
        return Flag
    if isinstance(default, str):
        return _word(default, comment)
    if isinstance(default, int | float):
        return _number(name, default, comment)
    if isinstance(default, list):
        return list[Number] if default and all(type(item) in (int, float) for item in default) else list[Any]
    return dict[str, Any] if isinstance(default, Mapping) else Any


def _read_yaml(text: str) -> dict[str, Any]:
    import yaml  # here, as comparing finished runs asks roles and needs no yaml

    return dict(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}) if text else {}


def _as_number(value: Any) -> Any:
    """ "1e-3" and the like, which yaml takes for a word, as the number that RecBole takes it for; in lists too."""
    if isinstance(value, list):
        return [_as_number(item) for item in value]
    written = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", value)
    return float(value) if written else value


def _losses(default: Any, comment: str, source: str) -> Any:
    found = _RANGE.search(comment)
    words = re.findall(r"\w+", (found[1] or found[2]) if found else "")
    compared = re.findall(r"loss_type\s*(?:==|!=)\s*[\"'](\w+)[\"']", source)
    choices = tuple(dict.fromkeys([str(default), *(words or compared or ["CE", "BPR"])]))
    return Literal[choices]


def _word(default: str, comment: str) -> Any:
    found = _RANGE.search(comment)
    words = tuple(dict.fromkeys([default, *re.findall(r"[\w-]+", (found[1] or found[2]) if found else "")]))
    if len(words) > 1:
        return Annotated[Literal[words], NoneWord] if "none" in words else Literal[words]
    return str | None


def _number(name: str, default: int | float, comment: str) -> Any:
    if "dropout" in name or name.endswith(("_prob", "drop_ratio")):
        return Annotated[Number, Field(ge=0, lt=1)]
    if name == "mask_ratio":
        return Annotated[Number, Field(ge=0, le=1)]
    if name == "std":
        return Annotated[Number, Field(ge=0)]
    if name in ("initializer_range", "layer_norm_eps", "reg_weight"):
        return Annotated[
            Number, Field(ge=0, le={"layer_norm_eps": 1, "initializer_range": 10}.get(name, 1e6))
        ]
    whole = isinstance(default, int) and not comment.startswith("(float)")
    if not whole:
        return Number
    return Annotated[int, Field(strict=True, ge=1)] if _SIZE.search(name) else Whole


def _sentence_of(comment: str) -> str:
    """What RecBole's comment says, without the type in front of it."""
    return re.sub(r"^\([^)]*\)\s*", "", comment).strip().rstrip(".")
