"""`sensorium evaluate segmentation` on COCO-format folders."""

import json

import numpy as np
import pytest
from fcclip_cases import picture, seeded_state
from PIL import Image

from sensorium.cli import main
from sensorium.cli.evaluate_segmentation import read_names
from sensorium.models.fcclip import FCCLIP, FCCLIPConfig, save_checkpoint
from sensorium.segmentation.coco_panoptic import Category, CocoPanoptic, write_panoptic
from sensorium.segmentation.evaluation import evaluate, predict_with_model
from sensorium.segmentation.metrics import SegmentLabel

CATEGORIES = [Category(3, "cup", True), Category(40, "floor", False)]


@pytest.fixture(scope="module")
def model():
    values = FCCLIPConfig.reference_small().to_dict()
    sizes = {"trunk_widths": (32, 64, 128, 256), "short_edge_px": 64}
    model = FCCLIP(FCCLIPConfig.from_dict(values | sizes))
    model.load_state_dict(seeded_state(model.config, 11))
    return model


@pytest.fixture
def folder(tmp_path):
    """Two pictures in the layout of the ADE20K files that Detectron2 prepares."""
    images = tmp_path / "images" / "validation"
    images.mkdir(parents=True)
    predictions = []
    for i in range(2):
        Image.fromarray(picture(48, 64, i)).save(images / f"{i}.jpg")
        ids = np.full((48, 64), 7, np.int32)
        ids[10:30, 20 + i : 40] = 9
        labels = [SegmentLabel(7, 40), SegmentLabel(9, 3)]
        predictions.append((i, f"{i}.jpg", ids, labels))
    write_panoptic(
        tmp_path / "ade20k_panoptic_val.json", tmp_path / "ade20k_panoptic_val", CATEGORIES,
        predictions,
    )  # fmt: skip
    return tmp_path


def test_a_folder_is_evaluated_like_the_library_does(folder, model, capsys):
    save_checkpoint(model, folder / "weights")
    output = folder / "report.json"
    arguments = ["evaluate", "segmentation", str(folder), "--weights", str(folder / "weights")]
    assert main([*arguments, "--output", str(output)]) == 0
    truth = CocoPanoptic(folder / "ade20k_panoptic_val.json", folder / "ade20k_panoptic_val")
    predict = predict_with_model(model, folder / "images" / "validation", CATEGORIES)
    expected = evaluate(truth, predict)
    written = json.loads(output.read_text())
    assert {key: written[key] for key in expected} == json.loads(json.dumps(expected))
    printed = capsys.readouterr().out
    assert f"mIoU {100 * expected['miou']:.1f} over 2 pictures" in printed
    assert "| things | " in printed


def test_synonyms_come_from_a_file_with_or_without_numbers(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("0:wall,walls\n1:building, house\n\nsky\n")
    assert read_names(file) == ["wall,walls", "building, house", "sky"]


def test_a_folder_of_another_layout_is_refused_with_the_remedy(tmp_path, model, capsys):
    save_checkpoint(model, tmp_path / "weights")
    arguments = ["--weights", str(tmp_path / "weights")]
    assert main(["evaluate", "segmentation", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert "ade20k_panoptic_val.json" in error
    assert "give --json, --id-maps and --images" in error


@pytest.mark.parametrize("arguments", [[], ["somewhere", "--rendered"]])
def test_data_must_be_a_folder_or_rendered(arguments, capsys):
    assert main(["evaluate", "segmentation", *arguments]) == 2
    assert "give FOLDER (or --json) or --rendered" in capsys.readouterr().out
