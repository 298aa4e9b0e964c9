from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from steepest.data.images import decode
from steepest.mistake import Mistake


def _picture(mode="RGB", size=(40, 30)):
    """A smooth picture: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 128 + 0 * x], 2).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".JPEG"])
def test_every_kind_gives_the_same_picture(tmp_path, suffix):
    path = tmp_path / f"a b ü{suffix}"
    options = {"quality": 95} if suffix in (".jpg", ".JPEG", ".webp") else {}
    _picture().save(path, **options)
    _picture().save(tmp_path / "plain.png")
    array = decode(path, 16, 3)
    assert array.shape == (16, 16, 3) and array.dtype == np.uint8
    away = np.abs(array.astype(int) - decode(tmp_path / "plain.png", 16, 3))
    assert away.mean() < 6


def test_the_short_side_is_resized_and_the_middle_cut_out(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    array = decode(tmp_path / "a.png", 10, 3)
    assert np.abs(array[:, 1:-1].astype(int) - 200).max() < 5
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "b.png")
    assert (decode(tmp_path / "b.png", 10, 3) == array.transpose(1, 0, 2)).all()


def test_shrinking_is_antialiased(tmp_path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    assert np.abs(decode(tmp_path / "a.png", 8, 1).astype(int) - 127).max() < 12


def test_a_picture_of_the_right_size_is_not_touched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 16, 3) == pixels).all()


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = np.full((8, 8), 0x8012, np.uint16)
    deep[:4] = 0xFFFF
    for suffix in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
        array = decode(tmp_path / f"a.{suffix}", 8, 1)
        assert (array[:4] == 255).all() and (array[4:] == 0x80).all()


def test_transparency_is_laid_on_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, :4] = (255, 0, 0, 255)
    clear[:, 4:] = (0, 0, 0, 0)
    picture = Image.fromarray(clear)
    picture.save(tmp_path / "rgba.png")
    picture.save(tmp_path / "rgba.webp", lossless=True)
    picture.convert("LA").save(tmp_path / "la.png")
    palette = picture.convert("RGB").quantize(4)
    palette.info["transparency"] = palette.getpixel((7, 0))
    palette.save(tmp_path / "p.gif", transparency=palette.getpixel((7, 0)))
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((7, 0)))
    for name in ("rgba.png", "rgba.webp", "p.gif", "p.png"):
        array = decode(tmp_path / name, 8, 3)
        assert (array[:, 4:] == 255).all(), name
        assert (array[:, :4] == (255, 0, 0)).all(), name
    assert (decode(tmp_path / "la.png", 8, 1)[:, 4:] == 255).all()


def test_palette_cmyk_grey_and_one_bit_become_what_is_asked(tmp_path):
    expected = decode_of(tmp_path, _picture("RGB"), "png")
    for mode, suffix in (("P", "png"), ("CMYK", "jpg"), ("L", "png"), ("1", "png"), ("YCbCr", "jpg"), ("LAB", "tif")):
        for channels in (1, 3):
            array = decode_of(tmp_path, _picture(mode), suffix, channels)
            assert array.shape == (16, 16, channels)
    assert np.abs(decode_of(tmp_path, _picture("CMYK"), "jpg").astype(int) - expected).mean() < 12
    assert (np.ptp(decode_of(tmp_path, _picture("L"), "png"), axis=2) == 0).all()


def decode_of(tmp_path, picture, suffix, channels=3):
    picture.save(tmp_path / f"one.{suffix}")
    return decode(tmp_path / f"one.{suffix}", 16, channels)


def test_exif_rotation_is_applied(tmp_path):
    upright = _picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned a quarter clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    assert (decode(tmp_path / "turned.png", 16, 3) == decode(tmp_path / "upright.png", 16, 3)).all()


def test_a_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path / "a.gif", 8, 3) == (255, 0, 0)).all()


@pytest.mark.parametrize("side", [30_000, 10_100, 12_000])
def test_a_picture_of_too_many_pixels_is_refused_without_decoding_it(tmp_path, side, png_header):
    (tmp_path / "huge.png").write_bytes(png_header(side, side))
    with pytest.raises(Mistake, match="more than 100 million"):
        decode(tmp_path / "huge.png", 16, 3)


def test_no_warning_of_pillow_comes_out(tmp_path, capfd, png_header):
    (tmp_path / "large.png").write_bytes(png_header(9_700, 9_700))  # Pillow warns from 89 million pixels on
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Mistake, match="cut off or broken"):
            decode(tmp_path / "large.png", 16, 3)
    assert caught == [] and capfd.readouterr().err == ""


def test_bad_files_are_told_apart(tmp_path):
    _picture(size=(200, 200)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("this is no picture")
    _picture().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "folder.jpg").mkdir()
    reasons = {
        "cut.jpg": "is cut off or broken",
        "cut.png": "is cut off or broken",
        "empty.jpg": r"is empty \(0 bytes\)",
        "text.jpg": "is not an image of a kind that can be read",
        "loop.jpg": "is a link that leads nowhere",
        "gone.jpg": "is a link that leads nowhere",
        "none.jpg": "cannot be read: No such file",
        "folder.jpg": "cannot be read: Is a directory",
    }
    for name, reason in reasons.items():
        with pytest.raises(Mistake, match=f"{name} {reason}"):
            decode(tmp_path / name, 16, 3)


def test_random_damage_gives_a_picture_or_a_mistake_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp"):
        _picture().save(tmp_path / f"a.{suffix}")
        whole = bytearray((tmp_path / f"a.{suffix}").read_bytes())
        for _ in range(25):
            broken = whole.copy()
            for place in rng.integers(0, len(whole), 4):
                broken[place] = rng.integers(0, 256)
            (tmp_path / f"b.{suffix}").write_bytes(broken)
            try:
                assert decode(tmp_path / f"b.{suffix}", 16, 3).shape == (16, 16, 3)
            except Mistake as mistake:
                assert f"b.{suffix}" in str(mistake)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    path = tmp_path / "secret.png"
    _picture().save(path)
    path.chmod(0)
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    code = (
        "import os; from pathlib import Path; from PIL import Image; from steepest.data.images import decode\n"
        "import steepest.mistake, PIL.PngImagePlugin, PIL.ImageOps; Image.init()\n"
        f"fd = os.open({str(tmp_path)!r}, os.O_RDONLY); os.fchdir(fd); os.setgroups([]); os.setgid(65534)\n"
        "os.setuid(65534)\n"
        "try: decode(Path('secret.png'), 16, 3)\n"
        "except steepest.mistake.Mistake as mistake: print(mistake)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "secret.png cannot be read: Permission denied", out.stderr
