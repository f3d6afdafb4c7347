"""Weights on disk: what they are, whether they are whole, and under which licence they may be used.

A manifest is a JSON file beside the weights. Nothing here uses the network and nothing unpickles:
weights are safetensors files, and what is wrong with one is said before it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.models import omnivggt
from sensorium.models.fcclip.checkpoint import FCCLIP_SMALL, read_configuration, tensor_shapes
from sensorium.models.omnivggt import OmniVGGT
from sensorium.models.omnivggt.checkpoint import (
    WeightsError,
    check_checkpoint,
    embedded_configuration,
    load_checkpoint,
    safetensors_header,
)

__all__ = [
    "PACKAGED_MANIFESTS",
    "LoadedModel",
    "Verification",
    "WeightsEntry",
    "WeightsError",
    "add_weights",
    "find_weights",
    "known_manifests",
    "licence_notice",
    "list_weights",
    "load_omnivggt",
    "read_manifest",
    "user_manifest",
    "verify_weights",
]

MANIFEST_NAME = "manifest.json"
OMNIVGGT = "omnivggt"
FCCLIP = "fcclip"
PACKAGED_MANIFESTS = (
    Path(omnivggt.__file__).parent / "weights" / MANIFEST_NAME,
    FCCLIP_SMALL.parent / MANIFEST_NAME,
)

_MANIFEST_VERSION = 1
_UNKNOWN_LICENCE = "unknown"


@dataclasses.dataclass(frozen=True)
class WeightsEntry:
    """One set of weights in a manifest.

    Attributes:
        name: How users call it, unique over all manifests.
        path: Absolute path of the safetensors file, which may be absent.
        architecture: "omnivggt", "fcclip", or "" where only the file format can be checked.
        configuration: Keyword arguments of the architecture's configuration; None: the published,
            or for "fcclip" what config.json beside the file says.
        sha256: Of the file, lower-case hex; None when nobody has recorded it.
        licence: Licence as its owner names it.
        non_commercial: True when the licence forbids commercial use, or is not known.
        source: Where the file comes from, or the script that made it.
        measured: What it was measured at; free form.
    """

    name: str
    path: Path
    architecture: str
    configuration: Mapping[str, Any] | None
    sha256: str | None
    licence: str
    non_commercial: bool
    source: str
    measured: Mapping[str, Any] | None

    @property
    def is_present(self) -> bool:
        """True when the file is there."""
        return self.path.is_file()


@dataclasses.dataclass(frozen=True)
class Verification:
    """Outcome of checking one entry: `reason` is "" when it passed."""

    name: str
    path: Path
    passed: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with its weights.

    Attributes:
        model: In eval mode, float32, without gradients.
        sha256: Of the file; "" when it was not computed.
        notice: A sentence that the user must see (non-commercial or unknown licence); "" if none.
    """

    model: OmniVGGT
    sha256: str
    notice: str


def read_manifest(path: Path) -> tuple[WeightsEntry, ...]:
    """Reads a manifest.

    Raises:
        WeightsError: It is missing, no JSON, of another version, or an entry lacks a field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} does not exist; a manifest is made with the first file that is added to it"
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is not readable as JSON ({error}); restore it or add the weights again"
        ) from error
    if not isinstance(content, dict) or content.get("version") != _MANIFEST_VERSION:
        raise WeightsError(
            f"{path} is not a weights manifest of version {_MANIFEST_VERSION}; it must be an "
            'object with "version" and "weights"'
        )
    return tuple(_entry(path, fields) for fields in content.get("weights", []))


def user_manifest() -> Path:
    """Where the user's own weights are recorded: $XDG_DATA_HOME/sensorium/weights/manifest.json."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "sensorium" / "weights" / MANIFEST_NAME


def known_manifests() -> tuple[Path, ...]:
    """The packaged manifests and the user's, where there is one."""
    own = user_manifest()
    return (*PACKAGED_MANIFESTS, own) if own.exists() else PACKAGED_MANIFESTS


def list_weights(manifests: Sequence[Path] | None = None) -> tuple[WeightsEntry, ...]:
    """Entries of all manifests; a later manifest replaces entries of the same name.

    Args:
        manifests: None: the known ones.

    Raises:
        WeightsError: A manifest is unreadable.
    """
    entries: dict[str, WeightsEntry] = {}
    for manifest in known_manifests() if manifests is None else manifests:
        entries |= {entry.name: entry for entry in read_manifest(manifest)}
    return tuple(entries.values())


def find_weights(name: str, manifests: Sequence[Path] | None = None) -> WeightsEntry:
    """Returns the entry called `name`.

    Raises:
        WeightsError: There is none.
    """
    entries = list_weights(manifests)
    for entry in entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries) or "none"
    raise WeightsError(
        f"there are no weights called '{name}'; known are: {known}. Add a local file, or give the "
        "path of a .safetensors file instead"
    )


def verify_weights(entry: WeightsEntry) -> Verification:
    """Checks format, completeness, architecture and SHA-256 of one entry's file."""
    try:
        digest = _checked_file(entry.path, entry.architecture, entry.configuration, entry.sha256)
    except WeightsError as error:
        return Verification(entry.name, entry.path, passed=False, reason=str(error))
    if entry.sha256 is None:
        reason = f"no SHA-256 is recorded to compare with; the file has {digest}"
        return Verification(entry.name, entry.path, passed=True, reason=reason)
    return Verification(entry.name, entry.path, passed=True, reason="")


def add_weights(
    manifest: Path,
    file: Path,
    *,
    name: str,
    architecture: str = OMNIVGGT,
    configuration: Mapping[str, Any] | None = None,
    licence: str | None = None,
    non_commercial: bool | None = None,
    source: str | None = None,
    measured: Mapping[str, Any] | None = None,
) -> WeightsEntry:
    """Checks a file and records it in a manifest; the file stays where it is.

    Args:
        manifest: Manifest to extend, usually ``user_manifest()``; made when missing.
        file: Safetensors file.
        name: Name not yet in this manifest. When a packaged manifest has weights of this name, what
            is not given here is taken from there: so a local copy of them is recorded.
        architecture: "omnivggt", or "" to check the format only.
        configuration: Of the architecture; None: what the file's metadata says, else published.
        licence: Licence text; None: unknown.
        non_commercial: None: True for an unknown licence and for one that says NC, else False.
        source: Where it comes from; None: the path.
        measured: What it was measured at.

    Returns:
        The new entry.

    Raises:
        WeightsError: The file is refused or the name is taken.
    """
    before = read_manifest(manifest) if manifest.exists() else ()
    if any(entry.name == name for entry in before):
        raise WeightsError(f"{manifest} already has weights called '{name}'; choose another name")
    file = file.expanduser().resolve()
    packaged = {entry.name: entry for entry in list_weights(PACKAGED_MANIFESTS)}.get(name)
    if packaged is not None:
        licence, source = licence or packaged.licence, source or packaged.source
        configuration = configuration or packaged.configuration
    licence = licence or _UNKNOWN_LICENCE
    if configuration is None and architecture == OMNIVGGT:
        configuration = embedded_configuration(file)
    digest = _checked_file(file, architecture, configuration, None)
    if non_commercial is None:
        non_commercial = licence == _UNKNOWN_LICENCE or _says_non_commercial(licence)
    entry = WeightsEntry(
        name,
        file,
        architecture,
        configuration,
        digest,
        licence,
        non_commercial,
        source or str(file),
        measured,
    )
    content = {
        "version": _MANIFEST_VERSION,
        "weights": [_fields(manifest, each) for each in (*before, entry)],
    }
    manifest.parent.mkdir(parents=True, exist_ok=True)
    partial = manifest.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(manifest)
    return entry


def load_omnivggt(
    name_or_path: str | Path,
    *,
    manifests: Sequence[Path] | None = None,
    check_hash: bool = True,
) -> LoadedModel:
    """Loads an OmniVGGT model by manifest name or by the path of a safetensors file.

    Args:
        name_or_path: A name in a manifest, or a path (anything with a suffix or a separator).
        manifests: Where names are looked up, None: the known ones; a path that a manifest lists
            gets its entry's rules.
        check_hash: Compute the SHA-256 (reads the file once more), and compare it where one is
            recorded.

    Returns:
        The model with the notice that its licence asks for.

    Raises:
        WeightsError: The file is missing, truncated, a pickle, of another architecture, or has
            another SHA-256 than recorded.
    """
    entry = _entry_for(name_or_path, manifests)
    if entry.architecture != OMNIVGGT:
        raise WeightsError(
            f"weights '{entry.name}' are of architecture '{entry.architecture}', not '{OMNIVGGT}'; "
            "choose others (sensorium weights list)"
        )
    expected = entry.sha256 if check_hash else None
    digest = _checked_file(
        entry.path, OMNIVGGT, entry.configuration, expected, hash_file=check_hash
    )
    model = load_checkpoint(entry.path, entry.configuration)
    return LoadedModel(model, digest, licence_notice(entry))


def licence_notice(entry: WeightsEntry) -> str:
    """The sentence a user must see before using weights, or "" when there is nothing to say."""
    if entry.licence == _UNKNOWN_LICENCE:
        return (
            f"Weights '{entry.name}': the licence is unknown; treat them as non-commercial until "
            "you have read it."
        )
    if entry.non_commercial:
        return f"Weights '{entry.name}': {entry.licence}. NON-COMMERCIAL USE ONLY."
    return ""


def _entry_for(name_or_path: str | Path, manifests: Sequence[Path] | None) -> WeightsEntry:
    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or os.sep in text or bool(Path(text).suffix)
    if not is_path:
        return find_weights(text, manifests)
    path = Path(name_or_path).expanduser().resolve()
    for entry in list_weights(manifests):
        if entry.path == path:
            return entry
    configuration = embedded_configuration(path)
    licence = _UNKNOWN_LICENCE
    if configuration is None:
        # The published checkpoint names no licence inside; no other of its shapes is known.
        licence = "CC BY-NC 4.0 (published OmniVGGT shapes: fine-tuned from facebook/VGGT-1B)"
    return WeightsEntry(
        path.name, path, OMNIVGGT, configuration, None, licence, True, str(path), None
    )


def _checked_file(
    path: Path,
    architecture: str,
    configuration: Mapping[str, Any] | None,
    sha256: str | None,
    *,
    hash_file: bool = True,
) -> str:
    """Refuses a bad file; returns its SHA-256, or "" where it was not to be computed."""
    if architecture == OMNIVGGT:
        check_checkpoint(path, configuration)
    elif architecture == FCCLIP:
        _check_fcclip(path)
    elif not architecture:
        safetensors_header(path)
    else:
        raise WeightsError(
            f"{path}: architecture '{architecture}' cannot be checked; known are '{OMNIVGGT}' and "
            f"'{FCCLIP}', and '' checks the format only"
        )
    if not hash_file:
        return ""
    with path.open("rb") as file:
        digest = _sha256(file)
    if sha256 is not None and digest != sha256.lower():
        raise WeightsError(
            f"{path} has SHA-256 {digest}, the manifest says {sha256}: it is another or a damaged "
            "file; copy it again, or add it under a name of its own"
        )
    return digest


def _check_fcclip(path: Path) -> None:
    header = safetensors_header(path)
    try:
        expected = tensor_shapes(read_configuration(path.parent))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be checked: {error}") from error
    stored = {key: tuple(of["shape"]) for key, of in header.items() if key != "__metadata__"}
    odd = sorted(
        key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key)
    )
    if odd:
        raise WeightsError(
            f"{path} does not fit config.json beside it: {len(odd)} tensors are absent, unknown or "
            f"of another shape, the first is '{odd[0]}' ({stored.get(odd[0])} in the file, "
            f"{expected.get(odd[0])} expected); take both files from one place"
        )


def _sha256(file: Any) -> str:  # noqa: ANN401 - any binary reader
    digest = hashlib.sha256()
    while chunk := file.read(1 << 22):
        digest.update(chunk)
    return digest.hexdigest()


def _says_non_commercial(licence: str) -> bool:
    words = licence.lower().replace("-", " ").split()
    return "nc" in words or "non commercial" in " ".join(words) or "noncommercial" in words


def _entry(manifest: Path, fields: Any) -> WeightsEntry:  # noqa: ANN401 - parsed JSON
    try:
        return WeightsEntry(
            name=str(fields["name"]),
            path=(manifest.parent / str(fields["file"])).resolve(),
            architecture=str(fields["architecture"]),
            configuration=fields["configuration"],
            sha256=fields["sha256"],
            licence=str(fields["licence"]),
            non_commercial=bool(fields["non_commercial"]),
            source=str(fields["source"]),
            measured=fields["measured"],
        )
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"{manifest}: an entry lacks {error}; every entry has name, file, architecture, "
            "configuration, sha256, licence, non_commercial, source and measured"
        ) from error


def _fields(manifest: Path, entry: WeightsEntry) -> dict[str, Any]:
    folder = manifest.parent.resolve()
    inside = entry.path.is_relative_to(folder)
    return {
        "name": entry.name,
        "file": str(entry.path.relative_to(folder) if inside else entry.path),
        "architecture": entry.architecture,
        "configuration": None if entry.configuration is None else dict(entry.configuration),
        "sha256": entry.sha256,
        "licence": entry.licence,
        "non_commercial": entry.non_commercial,
        "source": entry.source,
        "measured": None if entry.measured is None else dict(entry.measured),
    }
