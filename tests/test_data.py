"""Data sets: what each split holds, what is refused and how, and how minibatches are dealt."""

import gzip
import hashlib
import http.server
import math
import multiprocessing
import os
import shutil
import signal
import struct
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits, load_sample_images

import ganlib
from ganlib import data
from ganlib.data import (
    SPLITS,
    ImageFiles,
    Minibatches,
    StreamedMinibatches,
    derive_seed,
    jitter,
    load,
    load_pairs,
    minibatches,
    stream,
    stream_pairs,
    to_float,
    to_grey,
)

few = settings(deadline=None, max_examples=50)
REAL_DATA = Path(os.environ.get("GANLIB_DATA") or os.devnull)
NOBODY = "http://127.0.0.1:9/"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test reads the reader's data folder or cache, and none leaves this machine."""
    monkeypatch.delenv("GANLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(
        data, "_MIRRORS", {name: (NOBODY,) if at else () for name, at in data._MIRRORS.items()}
    )
    monkeypatch.setattr(data.pooch, "os_cache", lambda name: tmp_path / "cache" / name)


# Digits ------------------------------------------------------------------------------------------


def digits():
    return {split: load("digits", split) for split in SPLITS}


def to_levels(images):
    """Back from 8 bits to the 17 grey levels of the original."""
    return np.rint(images.squeeze(1).numpy() * (16 / 255))


def test_digits_splits_are_disjoint_and_hold_every_image_once():
    originals, place = load_digits().images, np.arange(1797) % 7
    part_of = {"train": place < 5, "validation": place == 5, "test": place == 6}
    for split, part in digits().items():
        assert np.array_equal(to_levels(part.images), originals[part_of[split]])


def test_digits_use_17_grey_levels_that_no_rounding_merges():
    images = torch.cat([part.images for part in digits().values()])
    assert images.unique().tolist() == [round(level * 255 / 16) for level in range(17)]


def test_digits_have_fixed_sizes_types_and_labels():
    parts = digits()
    assert [len(parts[split]) for split in SPLITS] == [1285, 256, 256]
    for split, part in parts.items():
        assert (part.name, part.split, part.shape) == ("digits", split, (1, 8, 8))
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.labels.shape == (len(part),)
        assert part.labels.unique().tolist() == list(range(10))
        assert part.classes == tuple("0123456789")


def test_digits_keep_each_image_with_its_label():
    original = load_digits()
    label_of = dict(zip((image.tobytes() for image in original.images), original.target))
    for part in digits().values():
        found = [label_of[image.tobytes()] for image in to_levels(part.images)]
        assert found == part.labels.tolist()


def test_digits_are_the_same_bytes_everywhere():
    digest = hashlib.sha256()
    for part in digits().values():
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().astype("<i8").tobytes())
    assert digest.hexdigest() == "acd9379ee12ef610fa8b3df4b37d9b25996f087aa368c084ff9d22b751f07d70"


def test_digits_come_by_default_for_training():
    assert torch.equal(ganlib.load().images, load("digits", "train").images)


@pytest.mark.parametrize("source", ["digits", "mnist", np.zeros((1, 4, 4), np.uint8)])
def test_unknown_split_is_refused(source):
    with pytest.raises(ValueError, match="one of train, validation, test, got 'valid'"):
        load(source, "valid")


@pytest.mark.parametrize(
    ("source", "error"), [("digit", ValueError), ("no/such/folder", FileNotFoundError)]
)
def test_unknown_source_is_refused_with_what_is_known(source, error):
    with pytest.raises(error, match=f"digits, mnist, fashion-mnist, .* got '{source}'"):
        load(source)


def test_file_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("seven")
    with pytest.raises(ValueError, match="which is none of these"):
        load(path)


# The MNIST sets ----------------------------------------------------------------------------------

FILES = data._MNIST_FILES


def idx(array):
    """The gzipped idx file of a uint8 array."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), compresslevel=1, mtime=0)


@pytest.fixture(scope="session")
def small_set():
    """Four files like MNIST's in number of images, 2×2 pixels each."""
    rng = np.random.default_rng(0)
    arrays = []
    for n in (60_000, 10_000):
        arrays += [rng.integers(0, 256, (n, 2, 2), np.uint8), rng.integers(0, 10, n, np.uint8)]
    return arrays, [idx(array) for array in arrays]


@pytest.fixture
def published(small_set, monkeypatch):
    """The small set takes the place of MNIST; returns its arrays and files."""
    arrays, files = small_set
    sums = tuple("sha256:" + hashlib.sha256(file).hexdigest() for file in files)
    monkeypatch.setattr(data, "_CHECKSUMS", {"mnist": sums})
    return arrays, dict(zip(FILES, files))


def put(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def own(published, tmp_path, monkeypatch):
    """The small set in the reader's own data folder; returns the folder of its files."""
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path / "own"))
    return put(tmp_path / "own" / "mnist", published[1])


@pytest.fixture
def serve(tmp_path):
    """serve(name, files) → (address, requested paths) of a mirror on this machine."""
    servers = []

    def start(name, files):
        class Mirror(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_):
                pass

        asked = []
        folder = put(tmp_path / name, files)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Mirror, directory=folder)
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def mirrors(monkeypatch, *addresses):
    monkeypatch.setattr(data, "_MIRRORS", {"mnist": addresses})


def assert_is_test_split(part, arrays):
    assert torch.equal(part.images.squeeze(1), torch.from_numpy(arrays[2]))
    assert torch.equal(part.labels, torch.from_numpy(arrays[3]).long())


def test_mnist_splits_are_the_first_50000_the_last_10000_and_the_test_files(own, published):
    images, labels, test_images, test_labels = map(torch.from_numpy, published[0])
    expected = {
        "train": (images[:50_000], labels[:50_000]),
        "validation": (images[50_000:], labels[50_000:]),
        "test": (test_images, test_labels),
    }
    for split, (x, y) in expected.items():
        part = load("mnist", split)
        assert (part.name, part.split, part.shape) == ("mnist", split, (1, 2, 2))
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert torch.equal(part.images, x.unsqueeze(1))
        assert torch.equal(part.labels, y.long())
        assert part.classes == tuple("0123456789")


def truncated(content):
    return content[: len(content) // 2]


def corrupt(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def wrong(content):
    return idx(np.zeros((10_000, 2, 2), np.uint8))


@pytest.mark.parametrize("damage", [truncated, corrupt, wrong])
@pytest.mark.parametrize("number", [2, 3])
def test_damaged_own_file_is_refused_by_name_and_left_as_it_was(own, damage, number):
    path = own / FILES[number]
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not the published file: its SHA-256 is") as caught:
        load("mnist", "test")
    message = str(caught.value)
    assert str(path) in message
    assert hashlib.sha256(before).hexdigest() in message
    assert data._CHECKSUMS["mnist"][number].removeprefix("sha256:") in message
    assert path.read_bytes() == before


def test_data_folder_that_is_none_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"GANLIB_DATA must name a folder, got .*nowhere"):
        load("mnist", "test")


def test_download_is_kept_in_the_cache(published, serve, tmp_path, monkeypatch):
    arrays, files = published
    address, asked = serve("mirror", files)
    mirrors(monkeypatch, address)
    assert_is_test_split(load("mnist", "test"), arrays)
    assert asked == ["/" + name for name in FILES[2:]]
    kept = tmp_path / "cache" / "ganlib" / "mnist"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: files[name] for name in FILES[2:]
    }
    load("mnist", "test")
    assert len(asked) == 2  # nothing was asked for again


def test_file_missing_from_the_data_folder_is_downloaded_to_the_cache(
    own, published, serve, monkeypatch
):
    (own / FILES[3]).unlink()
    address, asked = serve("mirror", published[1])
    mirrors(monkeypatch, address)
    assert_is_test_split(load("mnist", "test"), published[0])
    assert asked == ["/" + FILES[3]]
    assert not (own / FILES[3]).exists()


def test_second_mirror_serves_when_the_first_is_dead(published, serve, monkeypatch):
    address, asked = serve("mirror", published[1])
    mirrors(monkeypatch, NOBODY, address)
    assert_is_test_split(load("mnist", "test"), published[0])
    assert len(asked) == 2


@pytest.mark.parametrize("damage", [truncated, corrupt, wrong, None])
def test_second_mirror_serves_when_the_first_has_other_or_no_files(
    published, serve, monkeypatch, damage
):
    arrays, files = published
    other = {name: damage(content) for name, content in files.items()} if damage else {}
    first, second = serve("first", other), serve("second", files)
    mirrors(monkeypatch, first[0], second[0])
    assert_is_test_split(load("mnist", "test"), arrays)
    assert first[1] == second[1] == ["/" + name for name in FILES[2:]]


@pytest.mark.parametrize("damage", [truncated, corrupt, wrong])
def test_damaged_cached_file_is_downloaded_again(published, serve, tmp_path, monkeypatch, damage):
    arrays, files = published
    cache = put(tmp_path / "cache" / "ganlib" / "mnist", files)
    (cache / FILES[2]).write_bytes(damage(files[FILES[2]]))
    address, asked = serve("mirror", files)
    mirrors(monkeypatch, address)
    assert_is_test_split(load("mnist", "test"), arrays)
    assert asked == ["/" + FILES[2]]
    assert (cache / FILES[2]).read_bytes() == files[FILES[2]]


def test_cached_files_need_no_network(published, tmp_path):
    put(tmp_path / "cache" / "ganlib" / "mnist", published[1])
    assert_is_test_split(load("mnist", "test"), published[0])


def test_dead_mirrors_are_named_with_what_to_put_where(published, tmp_path, monkeypatch):
    mirrors(monkeypatch, NOBODY + "a/", NOBODY + "b/")
    with pytest.raises(FileNotFoundError, match="mnist is not at hand") as caught:
        load("mnist", "test")
    message = str(caught.value)
    for mention in (
        *FILES,
        str(tmp_path / "cache" / "ganlib" / "mnist"),
        "GANLIB_DATA names (now unset)",
        f"{NOBODY}a/{FILES[2]}",
        f"{NOBODY}b/{FILES[2]}",
    ):
        assert mention in message


@pytest.mark.skipif(
    not (REAL_DATA / "mnist").is_dir(), reason="needs GANLIB_DATA with a folder mnist"
)
def test_real_mnist_has_its_published_counts(monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(REAL_DATA))
    parts = {split: load("mnist", split) for split in SPLITS}
    assert {split: part.images.shape for split, part in parts.items()} == {
        "train": (50_000, 1, 28, 28),
        "validation": (10_000, 1, 28, 28),
        "test": (10_000, 1, 28, 28),
    }
    # Counts of the ten digits, as on the data set's page
    of_60000 = (parts["train"].labels.bincount() + parts["validation"].labels.bincount()).tolist()
    assert of_60000 == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert parts["test"].labels.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


# Faces -------------------------------------------------------------------------------------------

needs_faces = pytest.mark.skipif(
    not (REAL_DATA / "olivetti").is_dir(), reason="needs GANLIB_DATA with a folder olivetti"
)


@pytest.fixture
def mat(tmp_path, monkeypatch):
    """mat(folder, arrays): a MATLAB file takes the place of the one in that folder of data."""

    def put_file(folder, **arrays):
        monkeypatch.setenv("GANLIB_DATA", str(tmp_path / "own"))
        path = tmp_path / "own" / folder / data._FILES[folder][0]
        path.parent.mkdir(parents=True)
        savemat(path, arrays)
        kind = data._CHECKSUMS[folder][0].split(":")[0]
        digest = hashlib.new(kind, path.read_bytes()).hexdigest()
        monkeypatch.setattr(data, "_CHECKSUMS", {folder: (f"{kind}:{digest}",)})
        return path

    return put_file


def test_faces_are_split_within_persons_and_reduced_by_area(mat):
    upright = np.random.default_rng(0).integers(0, 256, (20, 64, 64), np.uint8)
    mat("olivetti", faces=upright.transpose(0, 2, 1).reshape(20, 4096).T)
    overlap = np.zeros((48, 64))  # how much of each new row lies in each old one
    for new in range(48):
        for old in range(64):
            low, high = max(new * 4 / 3, old), min((new + 1) * 4 / 3, old + 1)
            overlap[new, old] = max(high - low, 0) * 3 / 4
    expected = overlap @ upright @ overlap.T
    places = {"train": range(7), "validation": [7], "test": [8, 9]}
    for split, of_ten in places.items():
        part = load("faces", split)
        chosen = [10 * person + place for person in range(2) for place in of_ten]
        assert (part.name, part.split, part.shape) == ("faces", split, (1, 48, 48))
        assert part.images.dtype == torch.uint8
        assert part.labels.tolist() == [number // 10 for number in chosen]
        off = part.images[:, 0].numpy() - expected[chosen]
        assert np.abs(off).max() <= 0.5 + 1e-9


@needs_faces
def test_real_faces_have_their_counts_and_stand_upright(monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(REAL_DATA))
    parts = {split: load("faces", split) for split in SPLITS}
    assert {split: tuple(part.images.shape) for split, part in parts.items()} == {
        "train": (280, 1, 48, 48),
        "validation": (40, 1, 48, 48),
        "test": (80, 1, 48, 48),
    }
    for split, each in {"train": 7, "validation": 1, "test": 2}.items():
        assert parts[split].labels.bincount().tolist() == [each] * 40
    mean = parts["train"].images.double().mean((0, 1))
    # A face is nearly the same mirrored left to right, and quite another upside down
    left_right, up_down = ((mean - mean.flip(axis)).abs().mean() for axis in (1, 0))
    assert 2 * left_right < up_down
    assert mean[:24, 16:32].mean() > mean[24:, 16:32].mean() + 20  # light forehead, dark mouth


FOLDS = np.array(  # a column a fold: 0 no label, 1 train, 2 validation, 3 test
    [[0, 0, 0, 0, 0], [1, 2, 3, 1, 2], [2, 3, 1, 2, 3], [3, 1, 2, 3, 1], [3, 3, 2, 1, 2]],
    np.uint8,
)


@pytest.fixture
def tfd(mat):
    """Five faces laid out as in the file of the Toronto Face Database."""
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    expressions = np.array([[-1], [1], [7], [3], [2]], np.int16)
    path = mat("tfd", images=images, labs_ex=expressions, labs_id=expressions, folds=FOLDS)
    return images, expressions.ravel() - 1, path


@pytest.mark.parametrize("fold", range(1, 6))
def test_tfd_trains_on_unlabelled_faces_and_is_scored_on_those_of_a_fold(tfd, fold):
    images, expressions, _ = tfd
    for split, number in {"train": 0, "validation": 2, "test": 3}.items():
        part, chosen = load(f"tfd-{fold}", split), FOLDS[:, fold - 1] == number
        assert (part.name, part.split, part.shape) == (f"tfd-{fold}", split, (1, 48, 48))
        assert part.images.dtype == torch.uint8
        assert np.array_equal(part.images[:, 0], images[chosen])
        if split == "train":
            assert (part.labels, part.classes) == (None, ())
        else:
            assert part.labels.tolist() == expressions[chosen].tolist()
            assert part.classes == tuple("0123456")


def test_another_tfd_file_is_refused_by_its_checksum(tfd):
    path = tfd[-1]
    path.write_bytes(corrupt(path.read_bytes()))
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"TFD_48x48.mat is not .* its MD5 is {found}"):
        load("tfd-1")


def test_tfd_is_read_from_the_cache_and_checked_there(tfd, tmp_path, monkeypatch):
    cached = tmp_path / "cache" / "ganlib" / "tfd" / "TFD_48x48.mat"
    cached.parent.mkdir(parents=True)
    os.replace(tfd[-1], cached)
    assert len(load("tfd-1")) == 1
    cached.write_bytes(truncated(cached.read_bytes()))
    with pytest.raises(ValueError, match="truncated, corrupt or another"):
        load("tfd-1")


def test_missing_tfd_is_never_downloaded_and_says_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tfd is not at hand\.") as caught:
        load("tfd-3")
    message = str(caught.value)
    assert "TFD_48x48.mat is not public" in message
    assert str(tmp_path / "cache" / "ganlib" / "tfd") in message
    assert "http" not in message


# The reader's own folder -------------------------------------------------------------------------

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 5, 7), np.uint8)
RGB = RNG.integers(0, 256, (4, 5, 7, 3), np.uint8)


def write(folder, arrays, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for n, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{n}.{suffix}")
    return folder


def test_folder_of_grey_images_in_the_order_of_their_names(tmp_path):
    for n in (2, 0, 3, 1):
        Image.fromarray(GREY[n]).save(tmp_path / f"{n}.png")
    part = load(tmp_path)
    assert torch.equal(part.images, torch.from_numpy(GREY).unsqueeze(1))
    assert (part.name, part.split) == (str(tmp_path), "train")
    assert part.labels is None
    assert part.classes == ()


def test_folder_of_rgb_images(tmp_path):
    part = load(str(write(tmp_path, RGB)))
    assert part.shape == (3, 5, 7)
    assert torch.equal(part.images, torch.from_numpy(RGB).permute(0, 3, 1, 2))


def test_folder_ignores_hidden_and_other_files(tmp_path):
    write(tmp_path, GREY)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("four digits")
    assert len(load(tmp_path)) == 4


def test_transparency_is_left_out(tmp_path):
    alpha = np.full((5, 7, 1), 255, np.uint8)
    write(tmp_path, [np.concatenate([RGB[0], alpha], 2)])
    assert torch.equal(load(tmp_path).images[0], torch.from_numpy(RGB[0]).permute(2, 0, 1))


def test_folders_in_a_folder_are_classes(tmp_path):
    members = {name: GREY[: 1 + n % 2] // (n + 1) for n, name in enumerate("cafebd")}
    for name, greys in members.items():
        write(tmp_path / name, greys)
    (tmp_path / "bb").mkdir()  # empty, so no class
    part, names = load(tmp_path), "abcdef"
    assert part.classes == tuple(names)
    assert part.labels.tolist() == [n for n, name in enumerate(names) for _ in members[name]]
    assert part.labels.dtype == torch.int64
    assert np.array_equal(part.images[:, 0], np.concatenate([members[name] for name in names]))


def test_folder_with_a_folder_for_each_split(tmp_path):
    for split, n in [("train", 0), ("validation", 1), ("test", 2)]:
        write(tmp_path / split, GREY[n : n + 1])
    for n, split in enumerate(SPLITS):
        part = load(tmp_path, split)
        assert part.split == split
        assert torch.equal(part.images[0, 0], torch.from_numpy(GREY[n]))


def test_a_folder_beside_the_splits_is_refused(tmp_path):
    for name in ("train", "bus"):
        write(tmp_path / name, GREY[:1])
    with pytest.raises(ValueError, match=r"each folder must be one of .*, got bus"):
        load(tmp_path)


def test_a_class_has_one_number_in_all_splits(tmp_path):
    for split, names in {"train": "abc", "validation": "ad", "test": "c"}.items():
        for name in names:
            write(tmp_path / split / name, GREY[:1])
    parts = [load(tmp_path, split) for split in SPLITS]
    assert {part.classes for part in parts} == {("a", "b", "c", "d")}
    assert [part.labels.tolist() for part in parts] == [[0, 1, 2], [0, 3], [2]]


def test_split_that_a_folder_lacks_is_refused(tmp_path):
    write(tmp_path / "flat", GREY)
    write(tmp_path / "split" / "train", GREY)
    with pytest.raises(ValueError, match="flat has no 'test' split: all of it is 'train'"):
        load(tmp_path / "flat", "test")
    with pytest.raises(ValueError, match=r"split has no 'test' split: there is no folder .*test"):
        load(tmp_path / "split", "test")


@pytest.mark.parametrize(
    ("odd", "size"), [(GREY[0].T, "5×7 grey"), (RGB[0], "7×5 RGB")], ids=["size", "mode"]
)
def test_images_of_several_sizes_or_modes_are_refused_by_name(tmp_path, odd, size):
    write(tmp_path, [*GREY[:2], odd])
    with pytest.raises(ValueError, match=f"0.png is 7×5 grey, .*2.png is {size}"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp"])
@pytest.mark.parametrize("keep", [0, 0.2, 0.7])
def test_truncated_image_is_refused_by_name(tmp_path, suffix, keep):
    write(tmp_path, GREY[:2], suffix)
    path = tmp_path / f"1.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    # a bitmap that ends within its palette passes for one in colour
    with pytest.raises(ValueError, match=f"1.{suffix} is (not a readable image|7×5 RGB)"):
        load(tmp_path)


def test_image_of_an_absurd_size_is_refused_by_name(tmp_path):
    write(tmp_path, RGB[:1], "bmp")
    path = tmp_path / "0.bmp"
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 100_000, 100_000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"0\.bmp is not a readable image"):
        load(tmp_path)


def test_more_than_8_bits_a_channel_are_refused_by_name(tmp_path):
    write(tmp_path, [GREY[0].astype(np.uint16) * 200])
    with pytest.raises(ValueError, match=r"0\.png is not a readable image: .* more than 8 bits"):
        load(tmp_path)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        load(tmp_path)


# The reader's own arrays -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_array_of_bytes_is_taken_as_it_is(kind, shape):
    array = RNG.integers(0, 256, shape, np.uint8)
    part = load(kind(array))
    assert part.images.dtype == torch.uint8
    assert part.images.shape == (2, shape[1] if len(shape) == 4 else 1, 5, 7)
    assert np.array_equal(part.images.numpy().reshape(shape), array)
    assert (part.split, part.labels) == ("train", None)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_floats_are_rounded_to_the_nearest_byte(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for nudge in (-0.3, 0, 0.3):
        array = np.clip((levels + nudge) / 255, 0, 1).astype(dtype)
        assert np.array_equal(load(array).images.numpy()[0], levels)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1, :, ::-1],
        lambda a: a.transpose(0, 2, 1),
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
    ids=["reversed", "transposed", "read-only"],
)
def test_any_layout_in_memory_will_do(view):
    array = view(GREY)
    assert np.array_equal(load(array).images.numpy()[:, 0], array)


def test_npy_file_is_read_like_the_array(tmp_path):
    np.save(tmp_path / "mine.npy", GREY / 255)
    part = load(tmp_path / "mine.npy")
    assert torch.equal(part.images, torch.from_numpy(GREY).unsqueeze(1))
    assert part.name == str(tmp_path / "mine.npy")


BAD_ARRAYS = {
    "one image": (np.zeros((5, 7)), r"must have shape .* got \(5, 7\)"),
    "five dimensions": (np.zeros((1, 1, 1, 5, 7)), "must have shape"),
    "two channels": (np.zeros((4, 2, 5, 7)), r"must have shape .* got \(4, 2, 5, 7\)"),
    "channels last": (RGB, "must have shape"),
    "nothing": (np.zeros((0, 5, 7)), "must have shape"),
    "NaN": (np.full((1, 5, 7), np.nan), r"must lie in \[0, 1\]"),
    "above 1": (np.full((1, 5, 7), 1.01), r"must lie in \[0, 1\], got values from 1.01 to 1.01"),
    "below 0": (np.full((1, 5, 7), -0.5), r"must lie in \[0, 1\], got values from -0.5 to -0.5"),
    "integers": (np.zeros((1, 5, 7), np.int64), "must be uint8 or float .* got torch.int64"),
    "booleans": (np.zeros((1, 5, 7), bool), "must be uint8 or float .* got torch.bool"),
    "text": (np.zeros((1, 5, 7), "U3"), "must be uint8 or float .* got <U3"),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_array_of_another_shape_range_or_type_is_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match="source " + message):
        load(array)
    np.save(tmp_path / "mine.npy", array)
    with pytest.raises(ValueError, match=r"mine\.npy " + message):
        load(tmp_path / "mine.npy")


def test_damaged_npy_file_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, GREY)
    content = path.read_bytes()
    other = content.replace(b"}", b" ")  # a dictionary that never ends
    zipped = b"PK\x03\x04" + content
    for damaged in (b"", content[:5], content[:40], content[:-1], other, zipped, b"no array"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"mine\.npy is not a readable \.npy file"):
            load(path)


def test_npy_file_with_code_in_it_is_refused(tmp_path):
    np.save(tmp_path / "mine.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"mine\.npy is not a readable .*allow_pickle=False"):
        load(tmp_path / "mine.npy")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_array_is_all_for_training(tmp_path, split):
    np.save(tmp_path / "mine.npy", GREY)
    for source in (GREY, tmp_path / "mine.npy"):
        with pytest.raises(ValueError, match=f"has no '{split}' split: all of it is 'train'"):
            load(source, split)


def test_bytes_become_floats_from_0_to_1_and_floats_stay():
    levels = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_float(levels, dtype), torch.arange(256, dtype=dtype) / 255)
    assert levels.tolist() == list(range(256))
    assert to_float(torch.tensor([2.5], dtype=torch.float64)).tolist() == [2.5]


# Minibatches -------------------------------------------------------------------------------------


@st.composite
def deals(draw):
    """(images, batch size, seed) that fit together."""
    n = draw(st.integers(1, 30))
    return n, draw(st.integers(1, n)), draw(st.integers(0, 2**40))


def deal(n, batch_size, seed, **options):
    return Minibatches(torch.arange(n, dtype=torch.float32), None, batch_size, seed, **options)


def drawn(batches, numbers):
    return [batches[n][0].tolist() for n in numbers]


@few
@given(deals())
def test_an_epoch_takes_no_image_twice_and_fills_every_minibatch(numbers):
    n, batch_size, _ = numbers
    batches = deal(*numbers)
    per_epoch = n // batch_size
    for epoch in range(3):
        epoch_batches = drawn(batches, range(epoch * per_epoch, (epoch + 1) * per_epoch))
        assert [len(batch) for batch in epoch_batches] == [batch_size] * per_epoch
        taken = [x for batch in epoch_batches for x in batch]
        assert len(set(taken)) == len(taken)
        assert set(taken) <= set(range(n))


@few
@given(deals(), st.randoms(use_true_random=False))
def test_a_minibatch_depends_on_seed_and_number_alone(numbers, random):
    asked = list(range(12))
    in_order = drawn(deal(*numbers), asked)
    random.shuffle(asked)
    assert drawn(deal(*numbers), asked) == [in_order[n] for n in asked]


def test_epochs_and_seeds_shuffle_differently():
    orders = [tuple(deal(20, 20, seed)[epoch][0].tolist()) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)


@few
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9), st.integers(0, 9))
def test_processes_share_out_the_minibatch_of_one(world_size, each, seed, n):
    size = world_size * each
    shares = [
        drawn(deal(2 * size + 1, size, seed, rank=rank, world_size=world_size), [n])[0]
        for rank in range(world_size)
    ]
    assert all(len(share) == each for share in shares)
    (alone,) = drawn(deal(2 * size + 1, size, seed), [n])
    assert sorted(x for share in shares for x in share) == sorted(alone)


@few
@given(deals())
def test_conditions_stay_with_their_images(numbers):
    n, batch_size, seed = numbers
    x = torch.arange(n, dtype=torch.float32)
    batches = Minibatches(x, torch.stack([x, -x], 1), batch_size, seed)
    for number in range(5):
        images, (y,) = batches[number]
        assert torch.equal(y, torch.stack([images, -images], 1))


def test_without_conditions_the_tuple_is_empty():
    assert deal(4, 2, 0)[0][1] == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_are_dealt_out_as_floats(dtype):
    levels = torch.arange(256, dtype=torch.uint8)
    x, _ = Minibatches(levels, None, 256, 0, dtype=dtype)[0]
    assert torch.equal(x.sort().values, torch.arange(256, dtype=dtype) / 255)


@pytest.mark.parametrize("batch_size", [-1, 0, 6])
def test_batch_size_beyond_the_data_is_refused(batch_size):
    with pytest.raises(ValueError, match=rf"batch_size must be from 1 to 5 .* got {batch_size}"):
        deal(5, batch_size, 0)


def test_batch_size_that_the_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a multiple of the 2 processes, got 3"):
        deal(5, 3, 0, world_size=2)


# Pairs of images ---------------------------------------------------------------------------------


def pixels(n, height=8, width=8, channels=3, seed=0):
    shape = (n, height, width, channels) if channels > 1 else (n, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write_pairs(folder, names, A, B, forms=("{}_A.png", "{}_B.png"), split="train"):
    for side, form, arrays in zip("AB", forms, (A, B)):
        (folder / f"{split}{side}").mkdir(parents=True, exist_ok=True)
        for name, array in zip(names, arrays):
            Image.fromarray(array).save(folder / f"{split}{side}" / form.format(name))


def as_images(arrays):
    arrays = torch.from_numpy(arrays)
    return arrays.unsqueeze(1) if arrays.ndim == 3 else arrays.permute(0, 3, 1, 2)


@pytest.mark.parametrize("forms", [("{}_A.png", "{}_B.png"), ("{}.png", "{}.png")])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_twins_in_two_folders_are_pairs_in_the_order_of_their_numbers(tmp_path, forms, direction):
    A, B = pixels(3), pixels(3, channels=1, seed=1)
    write_pairs(tmp_path, (2, 9, 10), A, B, forms)
    found = load_pairs(tmp_path, direction=direction)
    first, second = as_images(A), as_images(B)
    inputs, images = (first, second) if direction == "AtoB" else (second, first)
    assert torch.equal(found.inputs, inputs)
    assert torch.equal(found.images, images)
    assert (found.name, found.split, found.labels) == (str(tmp_path), "train", None)
    assert found.inputs.dtype == found.images.dtype == torch.uint8


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("validation", "val")])
def test_halves_of_an_image_are_a_pair(tmp_path, direction, split, name):
    A, B = pixels(3), pixels(3, seed=1)
    write(tmp_path / name, np.concatenate([A, B], 2))
    found = load_pairs(tmp_path, split, direction)
    inputs, images = (A, B) if direction == "AtoB" else (B, A)
    assert torch.equal(found.inputs, as_images(inputs))
    assert torch.equal(found.images, as_images(images))


@pytest.mark.parametrize("side_by_side", [True, False])
def test_pairs_are_reduced_to_means(tmp_path, side_by_side):
    A, B = pixels(2), pixels(2, seed=1)
    if side_by_side:
        write(tmp_path / "train", np.concatenate([A, B], 2))
    else:
        write_pairs(tmp_path, (1, 2), A, B)
    found = load_pairs(tmp_path, size=4)
    for reduced, whole in ((found.inputs, A), (found.images, B)):
        means = as_images(whole).double().unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
        assert reduced.shape == (2, 3, 4, 4)
        assert (reduced - means).abs().max() <= 1  # Pillow rounds rows, then columns


def test_streamed_pairs_are_the_loaded_ones(tmp_path):
    write(tmp_path / "train", pixels(5, 8, 16))
    for options in ({}, {"direction": "BtoA", "size": 4}):
        files, images = stream_pairs(tmp_path, **options), load_pairs(tmp_path, **options)
        assert isinstance(files.images, ImageFiles)
        assert torch.equal(files.images[:], images.images)
        assert torch.equal(files.inputs[:], images.inputs)
    marks = {stream_pairs(tmp_path).images.fingerprint, stream_pairs(tmp_path).inputs.fingerprint}
    assert len({*marks, files.images.fingerprint, files.inputs.fingerprint}) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_minibatches_of_pairs_are_those_of_the_loaded_ones(tmp_path, workers):
    write(tmp_path / "train", pixels(7, 8, 16))
    files, images = stream_pairs(tmp_path), load_pairs(tmp_path)
    files.images.workers = workers
    streamed = minibatches(files.images, files.inputs, 3, 5)
    loaded = minibatches(images.images, images.inputs, 3, 5)
    for n in (0, 1, 2, 5):
        (x, (y,)), (expected_x, (expected_y,)) = streamed[n], loaded[n]
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)
    streamed.close()


def test_an_image_without_a_twin_is_named(tmp_path):
    write_pairs(tmp_path, (1, 2), pixels(2), pixels(2))
    (tmp_path / "trainB" / "2_B.png").rename(tmp_path / "trainB" / "3_B.png")
    with pytest.raises(ValueError, match=r"trainA.2_A.png has no twin in .*trainB"):
        load_pairs(tmp_path)
    (tmp_path / "trainA" / "2_A.png").unlink()
    with pytest.raises(ValueError, match=r"trainB.3_B.png has no twin in .*trainA"):
        load_pairs(tmp_path)
    Image.fromarray(pixels(1)[0]).save(tmp_path / "trainB" / "1.png")
    with pytest.raises(ValueError, match=r"trainB holds two images of one name"):
        load_pairs(tmp_path)


def test_pairs_that_do_not_fit_are_refused_by_name(tmp_path):
    write(tmp_path / "odd" / "train", pixels(1, 8, 15))
    write(tmp_path / "flat" / "train", pixels(1, 8, 32))
    write_pairs(tmp_path / "sizes", (1,), pixels(1), pixels(1, 4, 4))
    for folder, options, message in (
        ("odd", {}, r"halves need an even width: .*0.png is 15×8 RGB"),
        ("flat", {"size": 4}, r"size must be from 1 to the side of a square, got 4 for .*16×8 RGB"),
        ("sizes", {}, r"one size: .*1_A.png is 8×8 RGB, .*1_B.png is 4×4 RGB"),
        ("sizes", {"size": 5}, r"got 5 for .*1_B.png, of which 4×4 RGB"),
        ("sizes", {"size": 0}, r"got 0 for"),
        ("sizes", {"direction": "AB"}, "direction must be 'AtoB' or 'BtoA', got 'AB'"),
        (
            "sizes",
            {"split": "test"},
            r"no 'test' split of pairs: there are neither folders testA and",
        ),
        ("sizes", {"split": "val"}, "split must be one of train, validation, test, got 'val'"),
        ("none", {}, "folder must be the path of a folder of pairs, got"),
    ):
        with pytest.raises(ValueError, match=message):
            load_pairs(tmp_path / folder, **options)
    with pytest.raises(ValueError, match="half must be 'left', 'right' or None, got 'top'"):
        ImageFiles([tmp_path / "odd" / "train" / "0.png"], half="top")


def test_broken_images_and_empty_folders_of_pairs_are_named(tmp_path):
    write_pairs(tmp_path, (1, 2), pixels(2), pixels(2))
    path = tmp_path / "trainB" / "2_B.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"2_B.png is not a readable image"):
        load_pairs(tmp_path)
    for empty in ("x/trainA", "x/trainB", "y/train"):
        (tmp_path / empty).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"trainA holds no images"):
        load_pairs(tmp_path / "x")
    with pytest.raises(ValueError, match=r"train holds no images"):
        load_pairs(tmp_path / "y")


# Facades -----------------------------------------------------------------------------------------


def write_facades(folder):
    """As many pairs as there are, of one colour each, which tells their number."""
    for split, n, forms in (
        ("train", 400, ("{}_A.jpg", "{}_B.jpg")),
        ("test", 106, ("{}.jpg", "{}.jpg")),
    ):
        photos = np.arange(1, n + 1, dtype=np.float32)[:, None, None, None] / 400 * 255
        photos = np.broadcast_to(photos, (n, 16, 16, 3)).astype(np.uint8)
        write_pairs(folder, range(1, n + 1), photos, 255 - photos, forms, split)


@pytest.fixture(scope="session")
def facades(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "facades"
    write_facades(folder)
    shutil.make_archive(folder, "zip", folder.parent, "facades")
    return folder


@pytest.mark.parametrize("name", ["facades", "facades-128"])
def test_facades_are_photos_with_their_labels_as_inputs(facades, monkeypatch, name):
    monkeypatch.setenv("GANLIB_DATA", str(facades.parent))
    monkeypatch.setitem(data._FACADES, "facades-128", 8)
    parts = {split: load(name, split) for split in SPLITS}
    assert [len(parts[split]) for split in SPLITS] == [360, 40, 106]
    for part, first in zip(parts.values(), (1, 361, 1)):
        numbers = torch.arange(first, first + len(part)) / 400 * 255
        side = 16 if name == "facades" else 8
        assert part.images.shape == part.inputs.shape == (len(part), 3, side, side)
        assert (part.images[:, 0, 0, 0] - numbers).abs().max() <= 3
        assert (part.inputs[:, 0, 0, 0] - (255 - numbers)).abs().max() <= 3


def test_facades_are_downloaded_checked_and_unpacked_once(facades, serve, monkeypatch, tmp_path):
    archive = facades.with_suffix(".zip")
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(data._CHECKSUMS, "facades", (f"sha256:{checksum}",))
    address, asked = serve("mirror", {"facades.zip": archive.read_bytes()})
    monkeypatch.setitem(data._MIRRORS, "facades", (address,))
    assert len(load("facades", "test")) == 106
    monkeypatch.setitem(data._MIRRORS, "facades", (NOBODY,))
    assert len(load("facades", "validation")) == 40
    assert asked == ["/facades.zip"]
    monkeypatch.setitem(data._CHECKSUMS, "facades", ("sha256:" + 64 * "0",))
    with pytest.raises(FileNotFoundError, match=r"Put facades.zip\n"):
        load("facades")


def test_facades_that_two_processes_unpack_at_once_are_whole(facades, monkeypatch, tmp_path):
    kept = tmp_path / "kept" / "facades"
    kept.mkdir(parents=True)
    shutil.copy(facades.with_suffix(".zip"), kept)
    checksum = hashlib.sha256(facades.with_suffix(".zip").read_bytes()).hexdigest()
    monkeypatch.setitem(data._CHECKSUMS, "facades", (f"sha256:{checksum}",))
    monkeypatch.setenv("GANLIB_DATA", str(kept.parent))
    extract = data.ZipFile.extractall

    def be_late(archive, part):
        extract(archive, part)
        shutil.copytree(facades, cache / "facades" / "unpacked")

    cache = Path(data.pooch.os_cache("ganlib"))
    monkeypatch.setattr(data.ZipFile, "extractall", be_late)
    assert len(load("facades", "test")) == 106
    assert [path.name for path in (cache / "facades").iterdir()] == ["unpacked"]


def test_other_facades_than_the_published_are_refused(facades, monkeypatch, tmp_path):
    shutil.copytree(facades, tmp_path / "facades")
    for side in "AB":
        (tmp_path / "facades" / f"train{side}" / f"7_{side}.jpg").unlink()
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"facades must hold the 400 published pairs, got 399"):
        load("facades")


@pytest.mark.skipif(not (REAL_DATA / "facades").is_dir(), reason="needs facades in GANLIB_DATA")
def test_real_facades_are_256_wide_and_most_labels_are_blue(monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(REAL_DATA))
    part = load("facades", "validation")
    assert part.images.shape == part.inputs.shape == (40, 3, 256, 256)
    assert part.inputs[:, 2].float().mean() > 1.3 * part.inputs[:, 0].float().mean()
    small = load("facades-128", "validation")
    means = part.images.double().unflatten(3, (128, 2)).unflatten(2, (128, 2)).mean((3, 5))
    assert (small.images - means).abs().max() <= 1


# Colours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64])
def test_colours_of_two_photos_are_split_by_regions(size):
    photos = [torch.tensor(photo) for photo in load_sample_images().images]
    top, rows = 427 % size // 2, 427 // size
    regions = {
        "train": [(0, 256), (512, 640)],
        "validation": [(384, 512)],
        "test": [(256, 384)],
    }
    for split, columns in regions.items():
        squares = ganlib.colour_pairs(split=split, size=size).images
        assert squares.shape[1:] == (3, size, size)
        for photo in photos:
            for start, stop in columns:
                region = photo[top : top + rows * size, start:stop]
                across = (stop - start) // size
                these, squares = squares[: rows * across], squares[rows * across :]
                joined = these.unflatten(0, (rows, across)).permute(0, 3, 1, 4, 2)
                assert torch.equal(joined.reshape(region.shape), region)
        assert len(squares) == 0


def test_colour_is_the_default_of_colour_pairs():
    for split, n in (("train", 72), ("validation", 24), ("test", 24)):
        one, other = load("colour", split), ganlib.colour_pairs(split=split)
        assert len(one) == n
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.inputs, other.inputs)
        assert (one.name, one.split) == ("colour", split)


def test_grey_is_rounded_from_the_weights_of_itu_r_601():
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [1, 1, 0]])
    grey = to_grey(colours.byte()[:, :, None, None])
    assert grey.flatten().tolist() == [76, 150, 29, 255, 1]  # 76.245, 149.685, 29.07, 255, 0.886
    assert (grey.dtype, grey.shape) == (torch.uint8, (5, 1, 1, 1))


def test_grey_is_computed_on_the_images_device():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8, device="meta")
    assert to_grey(images).device.type == "meta"


def test_inputs_of_colours_are_their_grey():
    part = load("colour", "test")
    assert (part.inputs.shape, part.inputs.dtype) == ((24, 1, 64, 64), torch.uint8)
    for image, grey in zip(part.images, part.inputs):
        expected = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(grey[0].numpy().astype(int) - expected).max() <= 1


def test_photos_of_several_sizes_are_cut_into_squares(tmp_path):
    for split, sizes in (("train", ((9, 13), (13, 9))), ("val", ((4, 4),))):
        (tmp_path / split).mkdir()
        for i, (height, width) in enumerate(sizes):
            array = pixels(1, height, width, seed=i)[0]
            Image.fromarray(array).save(tmp_path / split / f"{i}.png")
    train, validation = (ganlib.colour_pairs(tmp_path, s, 4) for s in ("train", "validation"))
    assert (len(train), len(validation)) == (12, 1)
    assert torch.equal(train.images[1], as_images(pixels(1, 9, 13))[0, :, :4, 4:8])
    assert torch.equal(train.images[11], as_images(pixels(1, 13, 9, seed=1))[0, :, 8:12, 4:8])
    with pytest.raises(ValueError, match=r"no 'test' split: there is no folder .*test"):
        ganlib.colour_pairs(tmp_path, "test", 4)


def test_large_photos_are_reduced_to_four_squares_across(tmp_path):
    """Of 32×48 pixels, each of which becomes the mean over 2×2."""
    Image.fromarray(pixels(1, 32, 48)[0]).save(tmp_path / "large.png")
    found = ganlib.colour_pairs(tmp_path, size=4).images
    means = as_images(pixels(1, 32, 48))[0].double().unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4))
    assert len(found) == 4 * 6
    joined = found.unflatten(0, (4, 6)).permute(2, 0, 3, 1, 4).reshape(3, 16, 24)
    assert (joined - means).abs().max() <= 1  # rounded along each axis


def test_photos_that_cannot_be_cut_are_refused_by_name(tmp_path):
    write(tmp_path, pixels(1, 5, 9))
    for options, message in (
        ({"size": 6}, r"hold a square of size 6: .*0.png is 9×5 RGB"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"split": "test"}, "has no 'test' split: all of it is 'train'"),
        ({"split": "all"}, "split must be one of train, validation, test, got 'all'"),
        ({"folder": tmp_path / "none"}, "folder must be the path of a folder of photos"),
    ):
        with pytest.raises(ValueError, match=message):
            ganlib.colour_pairs(**{"folder": tmp_path, "size": 4} | options)
    Image.fromarray(pixels(1, 8, 8)[0]).save(tmp_path / "1.png")
    Image.fromarray(pixels(1, channels=1)[0]).save(tmp_path / "2.png")
    both = r"each photo must be RGB .*size 6: .*0.png is 9×5 RGB, .*2.png is 8×8 grey$"
    with pytest.raises(ValueError, match=both):
        ganlib.colour_pairs(tmp_path, size=6)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="holds no images"):
        ganlib.colour_pairs(tmp_path)


# Jitter ------------------------------------------------------------------------------------------


def ramps(n, height, width):
    """Images whose two channels are the coordinates, down and to the right."""
    down = torch.arange(height).double()[:, None].expand(height, width)
    right = torch.arange(width).double().expand(height, width)
    return torch.stack([down, right]).expand(n, -1, -1, -1)


@few
@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.booleans())
def test_jitter_is_a_crop_of_the_enlarged_image_perhaps_mirrored(down, right, mirrored):
    (image,) = jitter(ramps(1, 128, 256), [(down, right, 0.25 if mirrored else 0.75)])
    assert image.shape == (2, 128, 256)
    image = image.flip(2) if mirrored else image
    top, left = int(down * 16), int(right * 31)  # 143 − 128 + 1 and 286 − 256 + 1 places
    for axis, first, (before, after) in ((1, top, (128, 143)), (2, left, (256, 286))):
        places = (torch.arange(before) + first + 0.5) * before / after - 0.5
        expected = places.clamp(0, before - 1).double()
        found = image[axis - 1].movedim(axis - 1, 0)
        torch.testing.assert_close(found, expected[:, None].expand_as(found), atol=1e-5, rtol=0)


def test_jitter_reaches_every_place_and_mirrors_half():
    x = ramps(64, 32, 32).float()
    seen = [minibatches(x, None, 64, 0, jittered=True)[n][0] for n in range(20)]
    firsts = torch.cat(seen)[:, 0, 0, 0]  # how far down
    assert len(firsts.round(decimals=3).unique()) == 36 - 32 + 1
    mirrored = (torch.cat(seen)[:, 1, 0, 0] > torch.cat(seen)[:, 1, 0, -1]).float().mean()
    assert abs(mirrored - 0.5) < 4 * 0.5 / math.sqrt(20 * 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_images_of_a_pair_are_jittered_alike(dtype):
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain = minibatches(x, None, 2, 4, dtype)
    dealt = minibatches(x, x[:, :1], 2, 4, dtype, jittered=True)
    for n in range(5):
        found, (condition,) = dealt[n]
        assert torch.equal(found[:, :1], condition)
        assert not torch.equal(found, plain[n][0])
        assert (found.dtype, condition.dtype) == (dtype, dtype)


def test_jitter_leaves_conditions_that_are_no_images_alone():
    x = torch.rand(6, 3, 16, 16)
    for y in (torch.arange(6), torch.rand(6, 4)):
        _, (found,) = minibatches(x, y, 2, 0, jittered=True)[1]
        assert torch.equal(found, minibatches(x, y, 2, 0)[1][1][0])


def test_jitter_is_decided_by_seed_and_number_and_leaves_the_random_state_alone():
    x, state = torch.rand(6, 3, 16, 16), torch.get_rng_state()
    one, other = (minibatches(x, x, 2, 4, jittered=True) for _ in range(2))
    assert torch.equal(one[7][0], other[7][0])
    one[0]
    assert torch.equal(one[7][0], other[7][0])
    alike = minibatches(x[:1].expand(6, -1, -1, -1), None, 2, 4, jittered=True)
    assert not torch.equal(alike[0][0], alike[1][0])  # by its number
    assert not torch.equal(alike[0][0][0], alike[0][0][1])  # and by the place in the minibatch
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_out_the_jittered_minibatch_of_one(world_size):
    x = torch.rand(12, 1, 16, 16)
    whole = minibatches(x, x, 6, 4, jittered=True)[3][0]
    for rank in range(world_size):
        part = minibatches(x, x, 6, 4, torch.float32, rank, world_size, jittered=True)[3][0]
        assert torch.equal(part, whole[rank::world_size])


# Image files and their minibatches ---------------------------------------------------------------


def write_many(folder, n=23, shape=(5, 7, 3)):
    write(folder, np.random.default_rng(1).integers(0, 256, (n, *shape), np.uint8))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["grey", "RGB"])
def test_image_files_are_the_loaded_folder_decoded_when_asked(tmp_path, shape):
    write_many(tmp_path, shape=shape)
    loaded, streamed = load(tmp_path), stream(tmp_path)
    files = streamed.images
    assert isinstance(files, ImageFiles)
    assert (len(streamed), streamed.shape) == (23, loaded.shape)
    assert (files.shape, files.dtype) == (loaded.images.shape, torch.uint8)
    for index in (0, 22, -1, slice(None), slice(3, 9), slice(None, None, 5), slice(9, 3)):
        assert torch.equal(files[index], loaded.images[index])
    with pytest.raises(IndexError):
        files[23]


def test_streamed_folders_have_the_splits_and_classes_of_loaded_ones(tmp_path):
    for split, names in {"train": "ab", "test": "b"}.items():
        for name in names:
            write(tmp_path / split / name, GREY)
    for split in ("train", "test"):
        loaded, streamed = load(tmp_path, split), stream(str(tmp_path), split)
        assert torch.equal(streamed.images[:], loaded.images)
        assert torch.equal(streamed.labels, loaded.labels)
        assert streamed.classes == loaded.classes == ("a", "b")
    with pytest.raises(ValueError, match="has no 'validation' split"):
        stream(tmp_path, "validation")


def test_what_cannot_be_streamed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"folder must be the path of a folder .* got 'digits'"):
        stream("digits")
    with pytest.raises(ValueError, match="one of train, validation, test, got 'all'"):
        stream(tmp_path, "all")
    with pytest.raises(ValueError, match="files must hold at least one path, got none"):
        ImageFiles([])


def test_image_files_of_several_sizes_are_refused_at_once(tmp_path):
    write(tmp_path, [*GREY[:2], GREY[0].T])
    with pytest.raises(ValueError, match=r"0.png is 7×5 grey, .*2.png is 5×7 grey"):
        stream(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_image_that_is_damaged_or_changed_is_named_when_it_is_decoded(tmp_path, workers):
    paths = write_many(tmp_path, n=3)
    files = ImageFiles(paths, workers)
    batches = minibatches(files, None, 3, 0)
    Image.fromarray(GREY[0]).save(paths[1])
    with pytest.raises(ValueError, match=r"1\.png .*it was 7×5 RGB, it is 7×5 grey"):
        batches[0]
    paths[1].write_bytes(paths[2].read_bytes()[:80])
    with pytest.raises(ValueError, match=r"1\.png is not a readable image"):
        batches[0]
    paths[1].write_bytes(paths[2].read_bytes())
    assert batches[0][0].shape == (3, 3, 5, 7)
    batches.close()


def test_fingerprint_sees_pixels_names_and_order_but_not_the_folder(tmp_path):
    paths = write_many(tmp_path / "here", n=4)
    mark = ImageFiles(paths).fingerprint
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = sorted((tmp_path / "there").iterdir())
    assert ImageFiles(there).fingerprint == mark
    assert ImageFiles(there[::-1]).fingerprint != mark
    assert ImageFiles(there[:3]).fingerprint != mark
    image = np.array(Image.open(there[0]))
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(there[0])
    assert ImageFiles(there).fingerprint != mark
    os.replace(paths[3], tmp_path / "here" / "9.png")
    assert ImageFiles([*paths[:3], tmp_path / "here" / "9.png"]).fingerprint != mark


def same(got, expected):
    (x, y), (x_expected, y_expected) = got, expected
    return (
        x.dtype == x_expected.dtype
        and torch.equal(x, x_expected)
        and len(y) == len(y_expected)
        and all(torch.equal(a, b) for a, b in zip(y, y_expected))
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("conditions", [None, torch.arange(23)])
def test_streamed_minibatches_are_those_of_the_loaded_images_bit_for_bit(
    tmp_path, workers, conditions
):
    files, others = ImageFiles(write_many(tmp_path), workers), multiprocessing.active_children()
    for seed, dtype, rank, world_size in [
        (0, torch.float32, 0, 1), (2**40, torch.float64, 0, 2), (1, torch.float32, 1, 2),
    ]:  # fmt: skip
        arguments = (conditions, 6, seed, dtype, rank, world_size)
        of_files, of_tensor = minibatches(files, *arguments), minibatches(files[:], *arguments)
        for n in [*range(8), 8, 3, 4, 4, 20, 21]:  # over epochs, back, again, and far ahead
            assert same(of_files[n], of_tensor[n])
        of_files.close()
        assert same(of_files[5], of_tensor[5])
        assert len(multiprocessing.active_children()) == len(others) + workers
        of_files.close()
        assert set(multiprocessing.active_children()) <= set(others)


def test_minibatches_in_order_start_workers_once(tmp_path, monkeypatch):
    files, started = ImageFiles(write_many(tmp_path), 0), []
    make = StreamedMinibatches._loader
    monkeypatch.setattr(
        StreamedMinibatches, "_loader", lambda self, n: started.append(n) or make(self, n)
    )
    batches = minibatches(files, None, 5, 0)
    for n in [2, 3, 4, 5, 6, 1, 2]:
        batches[n]
    assert started == [2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_leaves_the_random_state_alone(tmp_path, workers):
    batches = minibatches(ImageFiles(write_many(tmp_path), workers), None, 5, 0)
    before = torch.get_rng_state()
    for n in range(6):
        batches[n]
    batches.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_outlive_ctrl_c(tmp_path):
    """A terminal sends it to every process of its group; the parent wants to finish its step."""
    files = ImageFiles(write_many(tmp_path), 2)
    batches, expected = minibatches(files, None, 5, 0), minibatches(files[:], None, 5, 0)
    others = set(multiprocessing.active_children())
    for n in (0, 1):  # one from each worker: both are up
        assert same(batches[n], expected[n])
    for worker in set(multiprocessing.active_children()) - others:
        os.kill(worker.pid, signal.SIGINT)
    for n in range(2, 12):
        assert same(batches[n], expected[n])
    batches.close()


def test_image_files_for_another_device_are_the_same_files(tmp_path):
    files = ImageFiles(write_many(tmp_path), 0)
    there = files.to("meta")
    assert (there.device.type, files.device.type) == ("meta", "cpu")
    assert there.fingerprint == files.fingerprint
    assert minibatches(there, None, 5, 0)[0][0].device.type == "meta"


@pytest.mark.parametrize(
    ("batch_size", "world_size", "message"),
    [(24, 1, "from 1 to 23"), (0, 1, "from 1 to 23"), (5, 2, "multiple of the 2 processes, got 5")],
)
def test_impossible_streamed_minibatches_are_refused(tmp_path, batch_size, world_size, message):
    with pytest.raises(ValueError, match=message):
        minibatches(ImageFiles(write_many(tmp_path)), None, batch_size, 0, world_size=world_size)


# Seeds -------------------------------------------------------------------------------------------


def test_derived_seeds_are_the_same_everywhere():
    assert [derive_seed(0), derive_seed(0, "shuffle", 0), derive_seed(2**70, "noise")] == [
        2334269327,
        1616903475,
        3021615843,
    ]


def test_derived_seeds_differ_for_every_purpose():
    purposes = [(), *(("noise", n) for n in range(500)), *(("shuffle", n) for n in range(500))]
    seeds = {derive_seed(seed, *purpose) for seed in (0, 1) for purpose in purposes}
    assert len(seeds) == 2 * len(purposes)
    assert max(seeds) < 2**32
