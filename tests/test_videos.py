"""Labelled videos: digits that move, folders of frames, and files that PyAV decodes."""

import builtins

import numpy as np
import pytest
from PIL import Image

from train.data import motions
from train.data.image_files import ReadingConfig
from train.data.images import Split
from train.data.video_files import find_frames, find_videos, read_video, spaced
from train.data.videos import load_videos
from train.shared.run import RunError

POOL = Split(np.full((1, 8, 8, 1), 200, np.uint8), np.zeros(1, np.int32))


def middles(frames):
    """Where a digit of `POOL` is in each frame, and how many pixels it has."""
    places = [np.argwhere(frame) for frame in frames]
    return np.array([place.mean(0) for place in places]), np.array([len(place) for place in places])


@pytest.mark.parametrize("seed", range(40))
def test_digits_move_as_is_said(seed):
    (first, length, label), (second, same, other) = motions.both_ways(np.random.RandomState(seed), POOL)
    assert length == same
    np.testing.assert_array_equal(second[:length], first[:length][::-1])
    kind = motions.CLASSES[label]
    assert motions.CLASSES[other] == motions.BACKWARDS[kind]
    np.testing.assert_array_equal(first[length:], np.repeat(first[length - 1 : length], len(first) - length, 0))
    where, pixels = middles(first[:length])
    steps = np.diff(where, axis=0)
    if kind == "growing":
        assert (np.diff(pixels) >= 0).all()
        assert pixels[-1] > 2 * pixels[0]
        return
    assert (pixels == pixels[0]).all()  # the whole digit is always to be seen
    if kind == "clockwise":
        angles = np.unwrap(np.arctan2(*(where - (where.max(0) + where.min(0)) / 2).T))
        assert angles[-1] - angles[0] > np.pi / 2  # rows grow downwards: such angles turn clockwise
        return
    down, right = where[-1] - where[0]
    moved, across, axis = (down, right, 0) if kind == "down" else (right, down, 1)
    assert moved > 5 > 1 > abs(across)
    assert (steps[:, axis] >= 0).all()


def test_every_video_is_there_both_ways(monkeypatch):
    monkeypatch.setattr(motions, "SIZES", {"train": 6, "val": 2, "test": 3})
    data = load_videos("motions", None, 32, 16, ReadingConfig())
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 6)
    for split in (data.train, data.val, data.test):
        for n in range(0, len(split), 2):
            length = split.lengths[n]
            np.testing.assert_array_equal(split.frames[n, :length], split.frames[n + 1, :length][::-1])
            assert split.labels[n] // 2 == split.labels[n + 1] // 2
            assert split.labels[n] != split.labels[n + 1]
    again = load_videos("motions", None, 32, 16, ReadingConfig())
    np.testing.assert_array_equal(again.test.frames, data.test.frames)


@pytest.mark.parametrize(("count", "num_frames", "expected"), [
    (3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [1, 4, 7]), (10, 4, [1, 3, 6, 8]), (7, 1, [3]),
])  # fmt: skip
def test_frames_are_taken_evenly(count, num_frames, expected):
    assert spaced(count, num_frames).tolist() == expected


def frames_of(folder, count, value):
    """Writes frames whose red is their number."""
    folder.mkdir(parents=True)
    for n in range(count):
        Image.new("RGB", (12, 8), (n, value, 0)).save(folder / f"frame{n:03}.png")


def test_folders_of_frames(tmp_path):
    for label, name in enumerate(("jump", "run")):
        for n in range(5):
            frames_of(tmp_path / name / f"video{n}", 3 + 5 * (n % 2), 100 * label + n)
    data = load_videos("folder", tmp_path, 8, 4, ReadingConfig(workers=0))
    assert data.classes == ("jump", "run")
    assert [len(split) for split in (data.train, data.val, data.test)] == [6, 2, 2]
    assert data.train.shape == (4, 8, 8, 3)
    seen = []
    for split in (data.train, data.val, data.test):
        batch = next(split.batches(lambda _: np.arange(len(split)), 0, 1))  # noqa: B023
        for frames, length, label in zip(batch["frames"], batch["length"], batch["label"], strict=True):
            value = int(frames[0, 0, 0, 1])
            seen.append(value)
            assert label == value // 100
            red = [1, 3, 5, 7] if value % 2 else [0, 1, 2, 2]  # of eight frames, and of three, the last again
            assert frames[:, 4, 4, 0].tolist() == red
            assert length == (4 if value % 2 else 3)
    assert sorted(seen) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_what_is_no_video_is_left_out(tmp_path):
    frames_of(tmp_path / "b", 1, 0)
    for name in ("a.mp4", "notes.txt", ".hidden.mp4", "c.AVI"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert find_videos(tmp_path) == [str(tmp_path / name) for name in ("a.mp4", "b", "c.AVI")]


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    names = ["1.png", "2.png", "003.png", "10.png", "12.png", "a2_9.png", "a2_10.png", "a10_1.png", "b.png"]
    for n, name in enumerate(names):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / name)
    (tmp_path / ".0.png").write_bytes(b"")
    (tmp_path / "0.mp4").write_bytes(b"")
    assert find_frames(tmp_path) == [str(tmp_path / name) for name in names]
    assert read_video(tmp_path, 20, 8)[:, 4, 4, 0].tolist() == list(range(len(names)))
    (tmp_path / "01.png").write_bytes(b"")
    assert find_frames(tmp_path)[:2] == [str(tmp_path / "01.png"), str(tmp_path / "1.png")]


def test_a_folder_of_frames_is_one_video_and_a_folder_of_such_is_none(tmp_path):
    for name in ("a/1", "a/2", "b/c/3", "b/c/3/thumbnails", "d.avi"):
        frames_of(tmp_path / name, 2, 0)
    (tmp_path / "b" / "4.gif").write_bytes(b"")
    assert find_videos(tmp_path) == [str(tmp_path / name) for name in ("a/1", "a/2", "b/4.gif", "b/c/3", "d.avi")]
    assert len(read_video(tmp_path / "b/c/3", 16, 8)) == 2
    with pytest.raises(ValueError, match="a holds no frames"):
        read_video(tmp_path / "a", 16, 8)


def test_video_files_are_decoded_by_pyav(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "video.avi"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)  # lossless
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        for n in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 20 * n, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = read_video(tmp_path / "video.avi", 3, 8)
    assert frames.shape == (3, 8, 8, 3)
    assert frames[:, 4, 4].tolist() == [[20] * 3, [80] * 3, [140] * 3]
    (tmp_path / "broken.avi").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"broken.avi cannot be read as a video"):
        read_video(tmp_path / "broken.avi", 3, 8)


def test_without_pyav_the_error_names_it(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "video.mp4").write_bytes(b"")
    whole = builtins.__import__

    def without_av(name, *arguments):
        if name == "av":
            raise ModuleNotFoundError(name="av")
        return whole(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(RunError, match=r'video.mp4 is decoded by PyAV, the package av: pip install -e "\.\[video\]"'):
        load_videos("folder", tmp_path, 8, 4, ReadingConfig())


@pytest.mark.parametrize(("name", "directory", "size", "message"), [
    ("motion", None, 32, "unknown set of videos 'motion'; did you mean motions"),
    ("motions", "somewhere", 32, "--data motions makes its own, of 32x32 pixels: got --data-dir somewhere"),
    ("motions", None, 64, "--data motions makes its own, of 32x32 pixels: .* --image-size 64"),
    ("folder", None, 32, "needs --data-dir"),
])  # fmt: skip
def test_data_that_cannot_be(name, directory, size, message):
    with pytest.raises(ValueError, match=message):
        load_videos(name, directory, size, 4, ReadingConfig())
