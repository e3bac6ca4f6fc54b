"""Class names: which spellings are understood, and the class and identity of each frame.

A name is understood in one way or not at all; what is not understood is rejected by name.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from ncm_kedro.errors import NcmError, SettingsError
from ncm_kedro.params.sem_ingest import LabelParams
from ncm_kedro.sem.io.frames import (
    ADDITIVE_SEPARATOR,
    PRISTINE,
    ClassLabel,
    LabelledFrame,
    RawFrames,
    RejectedFile,
    assign_frame_ids,
)

FORMATION, CYCLED = "formation", "cycled"
NOT_UNDERSTOOD = "a class name that is not understood"

_MIN_CYCLES = 10  # fewer may be formation: that of Oh et al. 2024 takes four, their ageing 100
_MAX_ADDITIVE = 60  # letters
_RATIO_TOLERANCE = Fraction(1, 100)
_SHOWN = 20

_ADDITIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+%-]*")
_SEPARATORS = re.compile(r"[\s_-]+")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_AMOUNT = r"(\d+(?:\.\d+)?(?:[/\N{FRACTION SLASH}]\d+)?)"
_FORMULA = re.compile(
    r"li(?:1(?:\.0+)?)?[\[(]?"
    rf"(?P<metals>(?:(?:ni|co|mn){_AMOUNT}){{3}})[\])]?o2(?![\d.])",
    re.IGNORECASE,
)
_METAL = re.compile(rf"(ni|co|mn){_AMOUNT}", re.IGNORECASE)
_FAMILY = re.compile(r"(?P<order>ncm|nmc)[\s_-]*", re.IGNORECASE)
_RATIO = re.compile(r"(\d)(?P<mark>[:.-]?)(\d)(?P=mark)(\d)(?![\d:.])")
_CYCLES = re.compile(
    r"(?:after )?(?:(?P<before>\d+) ?)?cyc(?:s|led?|les)?(?: ?(?P<after>\d+)(?: ?cyc(?:s|les?)?)?)?"
)
_FORMED = re.compile(r"(?:after )?(?:formed|formation(?: cycles?)?)")
_NEUTRAL = re.compile(
    r"(?:session|run|day|date|spot|area|region|site|pos|position|field|fov|images?|frames?|series"
    r"|sem|tiffs?|tifs?|jpe?gs?|pngs?|raw|originals?)(?: ?\d+)?"
    r"|(?:19|20)\d\d[ .]?[01]\d[ .]?[0-3]\d"
    r"|x ?\d+(?:[.,]\d+)? ?k?|\d+(?:[.,]\d+)? ?k? ?x|\d+(?:[.,]\d+)? ?kv|se\d?|bse\d?|etd|in ?lens"
)

logger = logging.getLogger(__name__)


def parse_class_name(name: str, params: LabelParams, *, conditions: bool = False) -> ClassLabel:
    """Read a class name: that of a folder, a path of folders, or a cell of a frame table.

    Each folder of a path may give composition, state or additive; together they must give one
    composition and contradict each other nowhere. Folders that say nothing of the electrode
    (sessions, dates, magnifications) are passed over.

    Parameters
    ----------
    name
        Names of folders with forward slashes between them.
    params
        What is known.
    conditions
        Whether a folder below a class that is not understood names the additive.

    Raises
    ------
    NcmError
        If the name is not understood.
    SettingsError
        If ``params.folders`` gives a class that is not understood itself.
    """
    named: dict[str, str] = {}
    for part in _read_path(name, params):
        found = _read_name(part, params)
        if found is None and conditions and "composition" in named:
            found = _read_additive(part)
        if found is None:
            raise _not_understood(name, params, f"'{part}' gives no composition, state or additive")
        for key, value in found.items():
            if named.setdefault(key, value).casefold() != value.casefold():
                raise _not_understood(
                    name, params, f"{named[key]} and {value} contradict each other"
                )
    if "composition" not in named:
        raise _not_understood(name, params, "no composition in it")
    return ClassLabel(**named)


def label_frames(
    raw: RawFrames, params: LabelParams
) -> tuple[tuple[LabelledFrame, ...], tuple[RejectedFile, ...]]:
    """Assign class and identity to each record; logs what each class was read from.

    Returns
    -------
    frames, rejections
        Frames sorted by identity, and every file that is not used with the reason and, where it is
        known, the class.

    Raises
    ------
    NcmError
        If no file has a known class.
    """
    labels, reasons = _read_labels(raw, params)
    usable = [record for record in raw.records if record.class_name in labels]
    rejections = [
        replace(entry, class_name=labels[entry.folder].name) if entry.folder in labels else entry
        for entry in raw.rejections
    ] + [
        RejectedFile(record.file, reasons[record.class_name], NOT_UNDERSTOOD, record.class_name)
        for record in raw.records
        if record.class_name in reasons
    ]
    if not usable:
        raise _nothing_understood(raw, params)
    _report_sources(Counter(record.class_name for record in usable), labels)
    frame_ids = assign_frame_ids({record.file: labels[record.class_name].name for record in usable})
    frames = (
        LabelledFrame(frame_ids[record.file], labels[record.class_name], record)
        for record in usable
    )
    return tuple(sorted(frames, key=lambda frame: frame.frame_id)), tuple(rejections)


def count_names(counts: Mapping[str, int]) -> str:
    """Write names with their counts, the most frequent first: ``NMC811 (3), old (1)``."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name or 'the raw folder'} ({n})" for name, n in ordered[:_SHOWN])
    more = len(ordered) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _read_labels(
    raw: RawFrames, params: LabelParams
) -> tuple[dict[str, ClassLabel], dict[str, str]]:
    """Labels by folder or cell, and reasons of those that are not understood."""
    labels: dict[str, ClassLabel] = {}
    reasons: dict[str, str] = {}
    names = {record.class_name for record in raw.records}
    for name in sorted(names | {entry.folder for entry in raw.rejections}):
        try:
            labels[name] = parse_class_name(name, params, conditions=raw.conditions)
        except SettingsError:
            raise
        except NcmError as error:
            reasons[name] = str(error)
    first: dict[str, str] = {}  # additives whose spelling differs in case alone are one
    for name, label in labels.items():
        spelling = first.setdefault(label.additive.casefold(), label.additive)
        labels[name] = replace(label, additive=spelling)
    return labels, reasons


def _report_sources(counts: Mapping[str, int], labels: Mapping[str, ClassLabel]) -> None:
    """Log from which folders a class was read, unless its own name is the only one."""
    sources: dict[str, dict[str, int]] = defaultdict(dict)
    for name, n_frames in counts.items():
        sources[labels[name].name][name] = n_frames
    for class_name, names in sorted(sources.items()):
        if set(names) != {class_name}:
            logger.info("class %s: frames of %s", class_name, count_names(names))


def _read_path(name: str, params: LabelParams) -> list[str]:
    """Split a path into names; the longest beginning that the settings know is replaced."""
    parts = [_normalise(part) for part in name.split("/")]
    known = {
        "/".join(_normalise(part) for part in path.split("/")): class_name
        for path, class_name in params.folders.items()
    }
    for length in range(len(parts), 0, -1):
        class_name = known.get("/".join(parts[:length]))
        if class_name is None:
            continue
        if "composition" not in (_read_name(_normalise(class_name), params) or {}):
            raise SettingsError(
                "sem_ingest.labels.folders",
                found=f"class '{class_name}' for folder '{name}'",
                expected=_describe_known(params),
                action="correct the class in conf/local/parameters.yml",
            )
        return [_normalise(class_name), *parts[length:]]
    return parts


def _normalise(text: str) -> str:
    """Fold full-width letters, subscripts and composed characters, and strip blanks."""
    return unicodedata.normalize("NFKC", text).strip()


def _read_name(name: str, params: LabelParams) -> dict[str, str] | None:
    """Read what one name gives; nothing for a neutral one, None if it is not understood."""
    condition, separator, additive = name.partition(ADDITIVE_SEPARATOR)
    found: dict[str, str] = {}
    if separator:
        found = _read_additive(additive) or {}
        if not found or _read_state(_as_words(additive), params.states):
            return None  # `811__cycled` has one underscore too many
    elif _NEUTRAL.fullmatch(_as_words(name)):
        return {}
    if not condition.strip():
        return found or None
    split = _split_composition(_DECIMAL_COMMA.sub(".", condition), params.compositions)
    rest = condition if split is None else split[1]
    if split is not None:
        found["composition"] = split[0]
        if not rest.strip():
            return found
    state = _read_state(_as_words(rest), params.states)
    return None if state is None else {**found, "state": state}


def _read_additive(text: str) -> dict[str, str] | None:
    """Read additives as ``FEC-2%+VC``: blanks become hyphens, and commas between names ``+``."""
    text = _DECIMAL_COMMA.sub(".", _normalise(text))
    text = re.sub(r"[\s_]*[,;&+][\s_]*", "+", text)
    text = re.sub(r"[\s_]+", "-", text)
    usable = _ADDITIVE.fullmatch(text) and len(text) <= _MAX_ADDITIVE
    return {"additive": text} if usable else None


def _read_state(words: str, states: Collection[str]) -> str | None:
    """Read an ageing state; a number of cycles is one where it is too large for formation."""
    known = {_as_words(state): state for state in (PRISTINE, *states)}
    if words in known:
        return known[words]
    if FORMATION in states and _FORMED.fullmatch(words):
        return FORMATION
    match = _CYCLES.fullmatch(words) if CYCLED in states else None
    if match is None or (match["before"] and match["after"]):
        return None
    number = match["before"] or match["after"]
    return CYCLED if number is None or int(number) >= _MIN_CYCLES else None


def _split_composition(text: str, compositions: Iterable[str]) -> tuple[str, str] | None:
    """Split a composition that is known from the front of a name."""
    ratios: dict[str, tuple[Fraction, ...]] = {
        name: _scale(name) for name in compositions if re.fullmatch(r"\d{3}", name) and int(name)
    }
    if formula := _FORMULA.match(text):
        amounts = {metal.casefold(): value for metal, value in _METAL.findall(formula["metals"])}
        if len(amounts) == 3:
            same = _find_ratio([_to_fraction(amounts[m]) for m in ("ni", "co", "mn")], ratios)
            return None if same is None else (same, text[formula.end() :])
    family = _FAMILY.match(text)
    order, bare = (family["order"].casefold(), text[family.end() :]) if family else ("", text)
    ratio = _RATIO.match(bare)
    if ratio and (order or ratio["mark"] == ":"):
        digits = "".join(ratio.group(1, 3, 4))
        metals = digits if order != "nmc" else digits[0] + digits[2] + digits[1]
        same = _find_ratio([Fraction(digit) for digit in metals], ratios)
        # Of `523` and `NMC523` one names cobalt first: whether they are one is not known.
        if same is not None and (metals == digits or digits not in ratios):
            return same, bare[ratio.end() :]
        return None
    for name in sorted(compositions, key=len, reverse=True):
        start = bare if name[0].isdigit() else text
        rest = start[len(name) :]
        if start[: len(name)].casefold() != name.casefold():
            continue
        if not (
            rest[:1].isdigit() or rest[:1] == "." or (name[-1:].isalpha() and rest[:1].isalpha())
        ):
            return name, rest
    return None


def _find_ratio(
    metals: Iterable[Fraction], ratios: Mapping[str, tuple[Fraction, ...]]
) -> str | None:
    """Return the one composition that has this ratio of Ni, Co and Mn."""
    wanted = _scale(metals)
    same = [
        name
        for name, known in ratios.items()
        if all(abs(a - b) <= _RATIO_TOLERANCE for a, b in zip(wanted, known, strict=True))
    ]
    return same[0] if len(same) == 1 else None


def _scale(metals: Iterable[Fraction | str]) -> tuple[Fraction, ...]:
    amounts = [Fraction(amount) for amount in metals]
    total = sum(amounts) or Fraction(1)
    return tuple(amount / total for amount in amounts)


def _to_fraction(text: str) -> Fraction:
    whole, _, part = text.replace("\N{FRACTION SLASH}", "/").partition("/")
    return Fraction(whole) / (Fraction(part or 1) or 1)


def _as_words(text: str) -> str:
    return _SEPARATORS.sub(" ", text).strip().casefold()


def _describe_known(params: LabelParams) -> str:
    name, state = params.compositions[0], params.states[-1]
    return (
        f"<composition>[_<state>][__<additive>] with a composition of "
        f"{', '.join(sorted(params.compositions))} and a state of "
        f"{', '.join(sorted({PRISTINE, *params.states}))}; for instance {name}, {name}_{state}, "
        f"{name}/{state} or {name}__FEC; 811 may be written NCM811, NMC 8:1:1 or "
        "LiNi0.8Co0.1Mn0.1O2, and cycled 100cyc"
    )


def _advise(name: str, params: LabelParams) -> str:
    quoted = name.replace("'", "''")
    return (
        "rename the folder (or the class in frames.csv), or give its class in conf/local/"
        f"parameters.yml: sem_ingest: {{labels: {{folders: {{'{quoted}': '<class>'}}}}}} with a "
        f"class such as {params.compositions[0]}_{params.states[-1]} for <class>; for a new "
        "composition or state, write the whole list there (sem_ingest.labels.compositions, .states)"
    )


def _not_understood(name: str, params: LabelParams, why: str) -> NcmError:
    return NcmError(
        f"class '{name}'",
        found=f"a name that is not understood ({why})",
        expected=_describe_known(params),
        action=_advise(name, params),
    )


def _nothing_understood(raw: RawFrames, params: LabelParams) -> NcmError:
    names = Counter(record.class_name for record in raw.records)
    return NcmError(
        raw.root,
        found=f"no frame of a known class; not understood: {count_names(names)}",
        expected=_describe_known(params),
        action=_advise(next(iter(names), "old"), params),
    )
