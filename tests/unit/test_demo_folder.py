import pytest

from sensorium.demo.folder import FolderError, OutputFolder


def test_a_new_folder_is_made_with_a_place_for_logs(tmp_path):
    with OutputFolder(tmp_path / "a" / "b") as folder:
        assert folder.logs.is_dir()
        assert not folder.recording.exists()


def test_an_empty_folder_is_taken(tmp_path):
    with OutputFolder(tmp_path) as folder:
        assert folder.path == tmp_path


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "map.ply").write_text("mine")
    with pytest.raises(FolderError, match="no demo wrote"):
        OutputFolder(tmp_path)
    assert (tmp_path / "map.ply").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["map.ply"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        OutputFolder(tmp_path / "file")


def test_a_second_run_replaces_only_what_a_run_writes(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.file("map.ply").write_text("old")
        folder.recording.mkdir()
        (folder.recording / "recording.mcap").write_text("old")
        (folder.path / "notes.txt").write_text("of the user")
    with OutputFolder(tmp_path) as folder:
        assert not folder.file("map.ply").exists()
        assert not folder.recording.exists()
        assert (folder.path / "notes.txt").read_text() == "of the user"


def test_a_link_in_place_of_a_file_is_removed_and_its_target_stays(tmp_path):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "precious").write_text("")
    with OutputFolder(tmp_path / "out") as folder:
        folder.recording.symlink_to(target)
    with OutputFolder(tmp_path / "out") as folder:
        assert not folder.recording.exists()
    assert (target / "precious").exists()


def test_two_runs_cannot_share_a_folder(tmp_path):
    with OutputFolder(tmp_path), pytest.raises(FolderError, match="another demo"):
        OutputFolder(tmp_path)
    OutputFolder(tmp_path).close()


def test_only_names_of_the_run_are_its_files(tmp_path):
    with (
        OutputFolder(tmp_path) as folder,
        pytest.raises(ValueError, match="not a file of the demo"),
    ):
        folder.file("other")
