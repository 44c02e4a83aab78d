"""Finding image files: links are followed once, and what belongs to the system is left out."""

import pytest
from support import solid_image

from zoo.data import image_tree, images


def test_links_to_folders_are_followed(tmp_path):
    solid_image(tmp_path / "store" / "deep" / "1.png")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "batch").symlink_to(tmp_path / "store")
    (tmp_path / "cat" / "2.png").symlink_to(tmp_path / "store" / "deep" / "1.png")
    found = image_tree.scan(tmp_path / "cat")
    assert found.files == [tmp_path / "cat" / "2.png", tmp_path / "cat" / "batch" / "deep" / "1.png"]
    assert not found.skipped
    assert images.find(tmp_path / "cat") == found.files


def test_loops_of_links_end_and_no_folder_is_read_twice(tmp_path):
    solid_image(tmp_path / "cat" / "a" / "1.png")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "a" / "self").symlink_to(tmp_path / "cat" / "a")
    (tmp_path / "cat" / "0").symlink_to(tmp_path / "cat" / "a")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "none.png")
    found = image_tree.scan(tmp_path / "cat")
    assert found.files == [tmp_path / "cat" / "a" / "1.png"]
    (note,) = image_tree.note(tmp_path, found.skipped)
    assert note == (
        f"skipped below {tmp_path}: 1 broken link (gone.png); 3 links to folders that are read already (0, self, up)"
    )


@pytest.mark.parametrize("name", ["a.JPG", "a.jfif", "a.Tga", "a.jpe", "a.pnm", "a.TIFF"])
def test_suffixes_in_any_case_and_less_common_ones_are_images(tmp_path, name):
    (tmp_path / name).write_text("")
    assert image_tree.scan(tmp_path).files == [tmp_path / name]


def test_every_suffix_that_is_searched_for_can_be_read(tmp_path):
    from PIL import Image

    Image.init()
    assert {suffix for suffix in image_tree.SUFFIXES if Image.EXTENSION.get(suffix) not in Image.OPEN} == set()


def test_deep_folders_are_no_problem(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    solid_image(folder / "1.png")
    assert len(image_tree.scan(tmp_path).files) == 1
