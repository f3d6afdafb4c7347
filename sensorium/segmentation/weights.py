"""FC-CLIP weights that the user names, in the published files or in a checkpoint directory."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError

from sensorium.configuration import parameter
from sensorium.models.fcclip import FCCLIP, FCCLIP_SMALL, FCCLIPConfig, load_checkpoint
from sensorium.models.fcclip.loading import read_state

PUBLISHED = (
    "the published model: 'weights.clip' is the OpenCLIP file of convnext_large_d_320 (tag "
    "laion2b_s29b_b131k_ft_soup: open_clip_pytorch_model.bin or open_clip_model.safetensors), "
    "'weights.head' the FC-CLIP checkpoint (fcclip_cocopan.pth of bytedance/fc-clip)"
)
LEGAL_NOTE = (
    "FC-CLIP's code and checkpoint are Apache-2.0, the OpenCLIP weights MIT (LAION-2B); US patent "
    "application 20250045929 describes the method: clear the use of it for yourself"
)


class WeightsRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """Weights that are absent, damaged or of another model; the text gives reason and remedy."""


@dataclass(frozen=True)
class WeightsConfiguration:
    """Which files; none of them is the shipped fcclip-small."""

    clip: str = parameter("", "OpenCLIP weights of the published model (.safetensors, .bin, .pth).")
    head: str = parameter("", "FC-CLIP checkpoint of the published model (.pth, .safetensors).")
    directory: str = parameter(
        "", "Directory with config.json and model.safetensors, instead of clip and head; "
        "with all three empty the shipped fcclip-small, which knows rendered rooms only."
    )  # fmt: skip


def load_weights(
    configuration: WeightsConfiguration, text_cache_dir: Path | None, short_edge_px: int = 0
) -> FCCLIP:
    """Load the model that a configuration names.

    Args:
        configuration: Paths; ``~`` is the home directory. Without any, fcclip-small is loaded.
        text_cache_dir: Where text embeddings are kept between runs; None for memory only.
        short_edge_px: Pictures are resized to this short edge; 0 as the model was published.

    Raises:
        WeightsRefused: Too much or too little is named, or a file is absent, damaged or of another
            model.
    """
    named = {name: Path(text).expanduser() for name, text in vars(configuration).items() if text}
    if not named:
        named = {"directory": FCCLIP_SMALL}
    if set(named) not in ({"directory"}, {"clip", "head"}):
        given = " and ".join(f"'weights.{name}'" for name in named)
        raise WeightsRefused(
            f"{given} given; give 'weights.clip' together with 'weights.head', or "
            f"'weights.directory' alone, or nothing for fcclip-small ({PUBLISHED}). {LEGAL_NOTE}"
        )
    for name, path in named.items():
        if not path.exists():
            raise WeightsRefused(
                f"parameter 'weights.{name}' is {path}, which does not exist; nothing is "
                "downloaded: fetch it by hand and give its path"
            )
    paths = ", ".join(map(str, named.values()))
    try:
        return _load(named, text_cache_dir, short_edge_px or None)
    # PyTorch's reader raises RuntimeError or EOFError for damaged files.
    except (RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise WeightsRefused(
            f"weights {paths} are truncated or damaged ({' '.join(str(error).split())[:200]}); "
            "copy them again"
        ) from error
    except (ValueError, OSError) as error:
        raise WeightsRefused(f"weights {paths} cannot be used: {error}") from error


def usable_text_cache(given: str) -> tuple[Path | None, str]:
    """Return the directory for text embeddings, made where absent, and what is wrong with it.

    Args:
        given: path; empty for $XDG_CACHE_HOME/sensorium/text_embeddings.

    Returns:
        (directory, "") or (None, sentence for the user).
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    usual = Path(home) / "sensorium" / "text_embeddings"
    directory = Path(given).expanduser() if given else usual
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return None, (
            f"text embeddings are kept in memory only, {directory} cannot be written ({error}); "
            "set 'text_cache' to another directory"
        )
    return directory, ""


def _load(named: dict[str, Path], text_cache_dir: Path | None, short_edge_px: int | None) -> FCCLIP:
    if "directory" in named:
        return load_checkpoint(
            named["directory"], text_cache_dir=text_cache_dir, short_edge_px=short_edge_px
        )
    # Read before the model takes its memory: a damaged file is refused at once.
    states = read_state(named["clip"]), read_state(named["head"])
    published = FCCLIPConfig()
    config = dataclasses.replace(published, short_edge_px=short_edge_px or published.short_edge_px)
    model = FCCLIP(config, text_cache_dir=text_cache_dir)
    model.load_published(*states)
    return model
