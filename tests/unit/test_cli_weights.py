import torch
from safetensors.torch import save_file

from sensorium.cli import main


def test_the_published_weights_are_listed_with_their_licence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["weights", "list"]) == 0
    assert "NC" in capsys.readouterr().out


def test_a_file_of_another_architecture_is_refused_and_not_recorded(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert main(["weights", "add", "mine", str(tmp_path / "other.safetensors")]) == 2
    assert "other.safetensors" in capsys.readouterr().err
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_truncated_file_is_refused(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    save_file({"x": torch.zeros(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:500])
    assert main(["weights", "add", "mine", str(tmp_path / "cut.safetensors")]) == 2
    assert "cut.safetensors" in capsys.readouterr().err


def test_an_unknown_name_is_refused_by_name(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["weights", "verify", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err
