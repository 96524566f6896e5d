"""Data sets as tensors: embedded, cached, downloaded, or the reader's own.

`load` answers with uint8 images (N, C, H, W), `stream` with image files that are decoded when they
are asked for; `minibatches` deals either out shuffled, as floats in [0, 1], on their device.
"""

import copy
import gzip
import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pooch
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

__all__ = [
    "DATASETS",
    "Data",
    "ImageFiles",
    "JitteredMinibatches",
    "Minibatches",
    "MissingSplit",
    "StreamedMinibatches",
    "as_condition",
    "colour_pairs",
    "derive_seed",
    "jitter",
    "load",
    "load_pairs",
    "minibatches",
    "stream",
    "stream_pairs",
    "to_float",
    "to_grey",
]

SPLITS = ("train", "validation", "test")

_MNIST = ("mnist", "fashion-mnist")
_TFD = tuple(f"tfd-{fold}" for fold in range(1, 6))
_FACADES = {"facades": None, "facades-128": 128}  # the sizes they are reduced to
#: The names that `load` knows.
DATASETS = ("digits", *_MNIST, "faces", *_TFD, *_FACADES, "colour")

_MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# What lies in each folder of data, its checksums, and where it can be downloaded from.
_FILES = {
    "mnist": _MNIST_FILES,
    "fashion-mnist": _MNIST_FILES,
    "olivetti": ("olivettifaces.mat",),
    "tfd": ("TFD_48x48.mat",),
    "facades": ("facades.zip",),
}
_CHECKSUMS = {
    "mnist": (
        "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist": (
        "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    # None was published: this is the checksum of the file as we had it.
    "olivetti": ("sha256:b1988d02c72fe5b8ee82b5ef3bb7982eafc74f1e1ff0ae0ade35061ad0af534d",),
    "tfd": ("md5:9d113650c197719b750ecc6864faf87c",),
    "facades": ("sha256:9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",),
}
_MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    "olivetti": ("https://cs.nyu.edu/~roweis/data/",),
    "tfd": (),
    "facades": ("https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/",),
}
GREY = (299, 587, 114)  # thousandths of R, G and B in a pixel's grey (ITU-R 601).
_CHECKSUM_NAMES = {"sha256": "SHA-256", "md5": "MD5"}
_IMAGE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class MissingSplit(ValueError):
    """A source lacks the split asked for."""


@dataclass(frozen=True)
class Data:
    """One split of a data set.

    Attributes:
        name: What was loaded.
        split: "train", "validation" or "test".
        images: (N, C, H, W) uint8: a tensor from `load`, `ImageFiles` from `stream`.
        labels: (N,) int64 classes, or None where there are none.
        classes: The classes' names, in the order of the labels' numbers.
        inputs: (N, C', H, W) uint8 images that G is given, each to be turned into its image, from
            the sets of pairs; None elsewhere.
    """

    name: str
    split: str
    images: "Tensor | ImageFiles"
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    inputs: "Tensor | ImageFiles | None" = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (C, H, W)."""
        return tuple(self.images.shape[1:])


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def load(source: str | os.PathLike | np.ndarray | Tensor = "digits", split: str = "train") -> Data:
    """Load one split of a data set by name, or the reader's own images.

    The numbers are those of the images in train, validation and test:

    - `"digits"`: 8×8, in scikit-learn, no network; 1,285, 256, 256.
    - `"mnist"`, `"fashion-mnist"`: 28×28; the first 50,000 and the last 10,000 of 60,000, 10,000.
    - `"faces"`: 48×48, the Olivetti faces; of each person's ten 7, 1 and 2: 280, 40, 80.
    - `"tfd-1"` … `"tfd-5"`: 48×48, not public; all that have no label, the fold's, the fold's.
    - `"facades"`: pairs, 256×256, and `"facades-128"`, reduced; 360, 40, 106.
    - `"colour"`: pairs, 64×64, in scikit-learn, no network; 72, 24, 24.
    - A folder with folders `train`, `validation`, `test`; its own.
    - Any other folder, a `.npy` file, an array or a tensor; all of it is for training.

    Of every seven digits in order, the first five are for training, the sixth for validation, the
    seventh for testing, so that every writer is in every split.

    The faces of 40 persons (Samaria & Harter, 1994) are reduced from 64×64, each new pixel being
    the mean over the square it covers. Their labels are the persons.

    The five folds of the Toronto Face Database (Susskind et al., 2010) share the training images,
    98,058 by the published count, and differ in the other two sets, whose labels are seven
    expressions. The code released with the 2014 paper uses them so: it trains on the images
    without labels, and scores each fold's test set with the σ of its validation set.

    The facades (Tyleček & Šára, 2013) are those of pix2pix and CycleGAN: `inputs` are maps of
    labels, `images` photos. Of the published 400 pairs for training, the last 40 by number are for
    validation. Pair 242 is among the first, though nearly all of its map is one label. The
    published 106 are for testing. `"colour"` are the pairs of `colour_pairs`, squares of two
    photos. `load_pairs` loads the reader's own pairs.

    Files of these sets are sought in `$GANLIB_DATA/<name>/`, where the name of the faces is
    `olivetti` and that of the folds `tfd`, then in the user's cache, then downloaded to the cache,
    except `TFD_48x48.mat`, which its owners give out. Each is checked against its checksum. The
    facades may also lie there unpacked, in folders `trainA`, `trainB`, `testA` and `testB`.

    A folder holds image files of one size. If it holds folders instead, each is a class, with one
    number in all splits. An array is (N, H, W), (N, 1, H, W) or (N, 3, H, W), uint8 or float in
    [0, 1]; floats are rounded to eight bits.

    Args:
        source: A name, a path, an array or a tensor.
        split: "train", "validation" or "test".

    Returns:
        The split, on the CPU.

    Raises:
        ValueError: Unknown name or split; a file that is truncated, corrupt or not the one
            expected; images of several sizes; an array of another shape, type or range.
        FileNotFoundError: No such path, or a named set that is neither at hand nor to be had.
    """
    _check_split(split)
    if isinstance(source, np.ndarray | Tensor):
        return _only_train(_from_array(source, "source"), split, "array")
    if source == "digits":
        return _load_digits(split)
    if source in _MNIST:
        return _load_mnist(source, split)
    if source == "faces":
        return _load_faces(split)
    if source in _TFD:
        return _load_tfd(source, split)
    if source in _FACADES:
        return _load_facades(source, split)
    if source == "colour":
        return colour_pairs(split=split)
    path = Path(source).expanduser()
    if path.suffix == ".npy" and path.is_file():
        try:
            with path.open("rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # a damaged header raises errors of its parser, too
            raise ValueError(f"{path} is not a readable .npy file: {error}") from error
        return _only_train(_from_array(array, str(path)), split, str(path))
    if path.is_dir():
        found = _find_images(path, split)
        return replace(found, images=found.images[:])
    missing = path.parent != Path(".") and not path.exists()
    raise (FileNotFoundError if missing else ValueError)(
        f"source must be one of {', '.join(DATASETS)}, or the path of a folder of images or of a "
        f".npy file, got {str(source)!r}, which is none of these"
    )


def stream(folder: str | os.PathLike, split: str = "train") -> Data:
    """One split of a folder of images that need not fit into memory.

    The folder is laid out as for `load`; each file is decoded whenever it is asked for.

    Args:
        folder: The path.
        split: "train", "validation" or "test".

    Returns:
        The split; its images are `ImageFiles`.

    Raises:
        ValueError: Unknown split; no such folder; files as `ImageFiles` refuses them.
    """
    _check_split(split)
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"folder must be the path of a folder of images, got {str(folder)!r}")
    return _find_images(path, split)


def load_pairs(
    folder: str | os.PathLike,
    split: str = "train",
    direction: str = "AtoB",
    size: int | None = None,
) -> Data:
    """One split of a folder of pairs of images, such as those made for pix2pix and CycleGAN.

    The pairs lie in folders `trainA` and `trainB`, `valA` (or `validationA`), … where the twin of
    `7.jpg` is `7.jpg`, or that of `7_A.jpg` is `7_B.jpg`; or in folders `train`, `val` (or
    `validation`) and `test`, A and B side by side in each file, A on the left. They come in the
    order of their names, short ones first, so that 9 is before 10.

    Args:
        folder: The path.
        split: "train", "validation" or "test".
        direction: "AtoB", where A are the `inputs` and B the `images`, or "BtoA".
        size: Reduce each image, which must be a square, to this height and width, every new pixel
            being the mean over what it covers; None to leave them.

    Returns:
        The split, on the CPU, with `inputs`.

    Raises:
        ValueError: Unknown split or direction; no such folder or split; an image without a twin,
            one that cannot be read or cut or reduced, images of several sizes.
    """
    found = stream_pairs(folder, split, direction, size)
    return replace(found, images=found.images[:], inputs=found.inputs[:])


def stream_pairs(
    folder: str | os.PathLike,
    split: str = "train",
    direction: str = "AtoB",
    size: int | None = None,
) -> Data:
    """As `load_pairs`, for pairs that need not fit into memory.

    Each file is decoded whenever it is asked for; a minibatch takes `images` and `inputs` together.

    Args:
        folder: As for `load_pairs`.
        split: As there.
        direction: As there.
        size: As there.

    Returns:
        The split; its `images` and `inputs` are `ImageFiles`.

    Raises:
        ValueError: As `load_pairs`, but what is wrong with pixels only when they are decoded.
    """
    _check_split(split)
    if direction not in ("AtoB", "BtoA"):
        raise ValueError(f"direction must be 'AtoB' or 'BtoA', got {direction!r}")
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"folder must be the path of a folder of pairs, got {str(folder)!r}")
    names = ("validation", "val") if split == "validation" else (split,)
    for name in names:
        if (path / f"{name}A").is_dir() and (path / f"{name}B").is_dir():
            sides = [ImageFiles(files, size=size) for files in _twins(path / name)]
            break
        if (path / name).is_dir():
            files = sorted(_image_files(path / name), key=_by_number)
            if not files:
                raise ValueError(f"{path / name} holds no images ({', '.join(_IMAGE_FILES)})")
            sides = [ImageFiles(files, half=half, size=size) for half in ("left", "right")]
            break
    else:
        raise MissingSplit(
            f"{path} has no {split!r} split of pairs: there are neither folders {names[-1]}A "
            f"and {names[-1]}B nor a folder {names[-1]}"
        )
    A, B = sides
    if A.shape[2:] != B.shape[2:]:
        raise ValueError(
            f"the images of a pair must have one size: {A.files[0]} is {_size(A.shape[1:])}, "
            f"{B.files[0]} is {_size(B.shape[1:])}"
        )
    inputs, images = (A, B) if direction == "AtoB" else (B, A)
    return Data(str(folder), split, images, inputs=inputs)


def colour_pairs(
    folder: str | os.PathLike | None = None, split: str = "train", size: int = 64
) -> Data:
    """Pairs for colouring: squares of colour photos, and the same in grey as `inputs`.

    Each photo is cut into as many squares as fit, side by side, in its middle. One in a folder is
    reduced before, to a shorter side of 4 · `size` if it is longer, every new pixel being the mean
    over what it covers: a square of a dozen megapixels would show no thing, only its surface. Grey
    is that of `to_grey`.

    Without a folder it is the two photos in scikit-learn, 640×427, of a temple and of a flower.
    Their splits are different regions, each with a part of both: of the columns, 256 to 383 are
    for testing, 384 to 511 for validation, the others for training. A test on them tells less than
    one on other photos would.

    Args:
        folder: Of colour photos of any size, or of folders `train`, `val` (or `validation`) and
            `test` with them; a folder without these is all for training.
        split: "train", "validation" or "test".
        size: Height and width of the squares.

    Returns:
        The split on the CPU, with `images` (N, 3, size, size), `inputs` (N, 1, size, size).

    Raises:
        ValueError: Unknown split; no such folder or split; `size` below 1; a photo that cannot be
            read; photos that have no colours, or are smaller than a square.
    """
    _check_split(split)
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if folder is None:
        from sklearn.datasets import load_sample_images

        parts = {
            "train": (slice(256), slice(512, None)),
            "validation": (slice(384, 512),),
            "test": (slice(256, 384),),
        }
        found = load_sample_images()
        photos = [
            (os.path.basename(name), torch.tensor(photo[None, :, part]).permute(0, 3, 1, 2))
            for name, photo in zip(found.filenames, found.images, strict=True)
            for part in parts[split]
        ]
    else:
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise ValueError(f"folder must be the path of a folder of photos, got {str(folder)!r}")
        files = _image_files(_split_folder(path, split))
        if not files:
            raise ValueError(f"{path} holds no images ({', '.join(_IMAGE_FILES)}) for {split!r}")
        photos = [(file, ImageFiles([file])) for file in files]  # decoded one at a time
    unfit = [
        f"{name} is {_size(photo.shape[1:])}"
        for name, photo in photos
        if photo.shape[1] != 3 or min(photo.shape[2:]) < size
    ]
    if unfit:
        raise ValueError(
            f"each photo must be RGB and hold a square of size {size}: {', '.join(unfit)}"
        )
    squares = []
    for _, photo in photos:
        whole = photo[0] if folder is None else _reduced(photo[0], 4 * size)
        top, left = (side % size // 2 for side in whole.shape[1:])
        grid = whole[:, top:, left:].unfold(1, size, size).unfold(2, size, size)
        squares.append(grid.permute(1, 2, 0, 3, 4).flatten(0, 1))
    name = "colour" if folder is None else str(folder)
    inputs = torch.cat([to_grey(its) for its in squares])  # not of all at once, in 32 bits
    return Data(name, split, torch.cat(squares), inputs=inputs)


def _reduced(photo: Tensor, shorter: int) -> Tensor:
    """(3, H, W) uint8 → the same with a shorter side of at most so many pixels."""
    from PIL import Image

    height, width = photo.shape[1:]
    scale = shorter / min(height, width)
    if scale >= 1:
        return photo
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    image = image.resize((round(scale * width), round(scale * height)), Image.Resampling.BOX)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_grey(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 → (N, 1, H, W) uint8, 0.299 R + 0.587 G + 0.114 B (ITU-R 601), rounded."""
    weights = torch.tensor(GREY, dtype=torch.int32, device=images.device).view(3, 1, 1)
    return (((images * weights).sum(1, keepdim=True) + 500) // 1000).byte()


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0…255 → float in [0, 1]; floats only change their dtype."""
    return images.to(dtype).div_(255) if images.dtype == torch.uint8 else images.to(dtype)


def as_condition(y: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images as x is used; whole numbers other than uint8, such as classes, as they are."""
    return to_float(y, dtype) if y.dtype == torch.uint8 or y.is_floating_point() else y


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 32-bit seed for one purpose of a run, unrelated to those of its other purposes.

    The CPU's random generator keeps only 32 bits of a seed, so a hash is better than a sum.
    """
    digest = hashlib.blake2b(repr((int(seed), *purpose)).encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "little")


class ImageFiles:
    """Image files of one size, as (N, C, H, W) uint8 that are decoded when they are asked for.

    The size and mode of every file are read from its header at once, the pixels later.
    `files[i]` is a tensor (C, H, W), `files[start:stop:step]` a tensor (n, C, H, W), both on the
    CPU and decoded afresh each time.

    Args:
        files: Their paths.
        workers: Processes that decode minibatches ahead; 0 decodes each when it is dealt. By
            default two on Linux, or one on a single core; none elsewhere, since other systems start
            processes by running the reader's script again.
        half: "left" or "right" to take that half of each image, None for all of it.
        size: Reduce each image, or half, to this height and width, by the mean over what a new
            pixel covers; None to leave it.

    Attributes:
        shape: (N, C, H, W), as of a tensor.
        dtype: torch.uint8.
        device: Where `minibatches` puts what it deals.
        fingerprint: Hash of the files' names, sizes and last bytes; the folder does not enter.

    Raises:
        ValueError: No files; a file that is no image of 8 bits a channel, or of another size or
            mode than the first; halves of an odd width; a size that does not reduce a square. Also
            when an image is decoded that is damaged or has changed.
    """

    dtype = torch.uint8

    def __init__(
        self,
        files: Sequence[str | os.PathLike],
        workers: int | None = None,
        *,
        half: str | None = None,
        size: int | None = None,
    ):
        if not files:
            raise ValueError("files must hold at least one path, got none")
        self.files = [os.fspath(file) for file in files]
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
        self.workers = min(2, cores) if workers is None else workers
        self.device = torch.device("cpu")
        first, digest = None, hashlib.sha256()
        for file in self.files:
            with _opened(file) as image:
                its_shape = (len(_mode(image)), image.height, image.width)
            first = first or its_shape
            if its_shape != first:
                raise ValueError(
                    f"all images must have one size and one mode: {self.files[0]} is "
                    f"{_size(first)}, {file} is {_size(its_shape)}"
                )
            digest.update(_mark(file))
        self.whole, self.size = first, size
        self.box = self._find_box(half)
        channels, (left, top, right, bottom) = first[0], self.box
        shape = (bottom - top, right - left)
        if size is not None:
            if shape[0] != shape[1] or not 1 <= size <= shape[0]:
                raise ValueError(
                    f"size must be from 1 to the side of a square, got {size} for "
                    f"{self.files[0]}, of which {_size((channels, *shape))} are used"
                )
            shape = (size, size)
        if half is not None or size is not None:
            digest.update(f"{half} {size}".encode())
        self.shape = torch.Size((len(self.files), channels, *shape))
        self.fingerprint = digest.hexdigest()[:16]

    def _find_box(self, half: str | None) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is used of each image."""
        _, height, width = self.whole
        if half is None:
            return 0, 0, width, height
        if half not in ("left", "right"):
            raise ValueError(f"half must be 'left', 'right' or None, got {half!r}")
        if width % 2:
            raise ValueError(f"halves need an even width: {self.files[0]} is {_size(self.whole)}")
        middle = width // 2
        return (0, 0, middle, height) if half == "left" else (middle, 0, width, height)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int | slice) -> Tensor:
        from PIL.Image import Resampling

        if isinstance(index, slice):
            numbers = range(*index.indices(len(self)))
            images = torch.empty(len(numbers), *self.shape[1:], dtype=self.dtype)
            for image, number in zip(images, numbers, strict=True):
                image.copy_(self[number])
            return images
        file = self.files[index]
        with _opened(file) as image:
            image = image.convert(_mode(image))
        its_shape = (len(image.mode), image.height, image.width)
        if its_shape != self.whole:
            raise ValueError(
                f"{file} has changed: it was {_size(self.whole)}, it is {_size(its_shape)}"
            )
        image = image.crop(self.box)
        if self.size is not None:
            image = image.resize((self.size, self.size), Resampling.BOX)
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels.contiguous()

    def to(self, device: torch.device | str) -> "ImageFiles":
        """The same files, for minibatches on a device."""
        there = copy.copy(self)
        there.device = torch.device(device)
        return there


@contextmanager
def _opened(file: str) -> Iterator:
    """An image file; whatever goes wrong with it names the file."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{file} is not a readable image: {error}") from error


def _mode(image) -> str:
    """ "L" for grey images, "RGB" for all others: as many letters as channels."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{image.mode} holds more than 8 bits a channel")
    return "L" if image.mode in ("1", "L", "LA") else "RGB"


def _mark(file: str) -> bytes:
    """Name, size and end of a file: not all of it, which would take long for many files."""
    size = os.path.getsize(file)
    with open(file, "rb") as opened:
        opened.seek(max(size - 64, 0))
        return f"{os.path.basename(file)}\0{size}\0".encode() + opened.read()


def _size(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"


class _Shuffle:
    """Which images are in minibatch n: shuffled, without replacement within an epoch.

    Minibatch n is a function of (seed, n) alone: a resumed run finds its place by counting. The
    last images of an epoch that do not fill a minibatch are left to the next shuffle.
    """

    def __init__(self, size, batch_size, seed, rank, world_size, device):
        if not 1 <= batch_size <= size:
            raise ValueError(f"batch_size must be from 1 to {size} (the data), got {batch_size}")
        if batch_size % world_size:
            raise ValueError(
                f"batch_size must be a multiple of the {world_size} processes, got {batch_size}"
            )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size, self.device = rank, world_size, device
        self.per_epoch = size // batch_size
        self.epoch = -1

    def __getitem__(self, n: int) -> Tensor:
        """Numbers of this process's images in minibatch n ≥ 0."""
        epoch, place = divmod(n, self.per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle", epoch))
            self.order = torch.randperm(self.size, generator=generator).to(self.device)
            self.epoch = epoch
        start = place * self.batch_size
        return self.order[start + self.rank : start + self.batch_size : self.world_size]


class Minibatches:
    """Shuffled minibatches of tensors; `minibatches` makes them and explains the arguments."""

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None,
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.x, self.y, self.dtype = x, y, dtype
        self.shuffle = _Shuffle(len(x), batch_size, seed, rank, world_size, x.device)

    def __getitem__(self, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Minibatch n ≥ 0: x as float, and y in a tuple that is empty when there is none."""
        index = self.shuffle[n]
        # index_select copies whole images; x[index] goes byte by byte, in up to 7 times the time.
        x = to_float(self.x.index_select(0, index), self.dtype)
        return x, () if self.y is None else (as_condition(self.y[index], self.dtype),)

    def close(self) -> None:
        """Nothing runs in between: there is nothing to end."""


class _Decoder:
    """Image files by the list, of x and perhaps of y; an error is an answer, too.

    An exception that crosses the DataLoader would hold on to it, and its workers would not end.
    """

    def __init__(self, *sides: ImageFiles):
        self.sides = sides

    def __getitem__(self, numbers: list[int]) -> list[Tensor] | str:
        try:
            return [torch.stack([files[number] for number in numbers]) for files in self.sides]
        except ValueError as error:
            return str(error)


class StreamedMinibatches:
    """The minibatches that `Minibatches` would deal of the decoded images, decoded ahead.

    `minibatches` makes them and explains the arguments. Worker processes decode the minibatches
    that follow the latest one; asking for another than the next starts them anew. They draw
    nothing from PyTorch's global generator.
    """

    def __init__(
        self,
        x: ImageFiles,
        y: Tensor | ImageFiles | None,
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.x, self.y, self.dtype = x, y, dtype
        # Two shuffles: the workers are ahead, and y lies where x is to go.
        self.ahead = _Shuffle(len(x), batch_size, seed, rank, world_size, "cpu")
        self.shuffle = _Shuffle(len(x), batch_size, seed, rank, world_size, x.device)
        self.decoded, self.next = None, 0

    def __getitem__(self, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Minibatch n ≥ 0: x as float, and y in a tuple that is empty when there is none."""
        if self.decoded is None or n != self.next:
            self.close()
            self.decoded = iter(self._loader(n))
        decoded = next(self.decoded)
        if isinstance(decoded, str):
            self.close()
            raise ValueError(decoded)
        self.next = n + 1
        x, *y = (to_float(images.to(self.x.device), self.dtype) for images in decoded)
        if isinstance(self.y, Tensor):
            y = (as_condition(self.y[self.shuffle[n]], self.dtype),)
        return x, tuple(y)

    def close(self) -> None:
        """End the worker processes; the next minibatch starts new ones."""
        self.decoded = None

    def _loader(self, n: int) -> DataLoader:
        workers = self.x.workers
        sides = (self.x, self.y) if isinstance(self.y, ImageFiles) else (self.x,)
        return DataLoader(
            _Decoder(*sides),
            batch_size=None,  # what the sampler gives is a minibatch already
            sampler=(self.ahead[m].tolist() for m in count(n)),
            num_workers=workers,
            worker_init_fn=_leave_interrupts_to_parent,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            generator=torch.Generator(),
        )


def _leave_interrupts_to_parent(_: int) -> None:
    """Ctrl-C reaches every process of a terminal, and the parent wants to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class JitteredMinibatches:
    """Minibatches whose images are jittered at random; `minibatches` makes them.

    Pair i of minibatch n is enlarged, cropped and mirrored by a function of (seed, n, i) alone.
    """

    def __init__(
        self,
        dealt: Minibatches | StreamedMinibatches,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ):
        self.dealt, self.batch_size, self.seed = dealt, batch_size, seed
        self.rank, self.world_size = rank, world_size

    def __getitem__(self, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Minibatch n ≥ 0, as `Minibatches` deals it, jittered."""
        x, y = self.dealt[n]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "jitter", n))
        chances = torch.rand(self.batch_size, 3, generator=generator)
        chances = chances[self.rank :: self.world_size].tolist()
        if not y or y[0].ndim != 4:
            return jitter(x, chances), y
        pairs = jitter(torch.cat([x, y[0]], 1), chances)
        x, y = pairs.split([x.shape[1], y[0].shape[1]], 1)
        return x.contiguous(), (y.contiguous(),)

    def close(self) -> None:
        """End what decodes image files ahead."""
        self.dealt.close()


def jitter(images: Tensor, chances: Sequence[Sequence[float]]) -> Tensor:
    """Enlarge images by 286/256, crop each to its size, and mirror half of them.

    The random jitter of pix2pix (Isola et al., 2017, section 6.2), bilinear.

    Args:
        images: (N, C, H, W) floats.
        chances: For each image three numbers in [0, 1): they say how far down and how far to the
            right the crop is, and below 1/2 that it is mirrored.

    Returns:
        (N, C, H, W), between the smallest and the largest of the values given.
    """
    height, width = images.shape[2:]
    size = [round(side * 286 / 256) for side in (height, width)]
    larger = interpolate(images, size, mode="bilinear")
    cut = []
    for image, (down, right, mirrored) in zip(larger, chances, strict=True):
        top, left = int(down * (size[0] - height + 1)), int(right * (size[1] - width + 1))
        image = image[:, top : top + height, left : left + width]
        cut.append(image.flip(2) if mirrored < 0.5 else image)
    return torch.stack(cut)


def minibatches(
    x: Tensor | ImageFiles,
    y: Tensor | ImageFiles | None,
    batch_size: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
    world_size: int = 1,
    jittered: bool = False,
) -> Minibatches | StreamedMinibatches | JitteredMinibatches:
    """Shuffled minibatches of (x, y), without replacement within an epoch, on x's device.

    `minibatches(...)[n]` is x as float, and y in a tuple that is empty when there is none. It is a
    function of (seed, n) alone: a resumed run finds its place by counting. The last images of an
    epoch that do not fill a minibatch are left to the next shuffle. `close()` after the last one
    ends the processes that decode image files ahead.

    Args:
        x: (N, ...) uint8 or float data, or image files.
        y: (N, ...) conditions, dealt out by `as_condition`; image files where x is; or None.
        batch_size: Images in a minibatch, over all processes.
        seed: Decides every shuffle, and all that is random about jitter.
        dtype: The type of the x dealt out.
        rank: Number of this process, which takes every `world_size`-th image of a minibatch.
        world_size: How many processes share a minibatch.
        jittered: Whether `jitter` is done to x, (N, C, H, W), and alike to a y of images.

    Raises:
        ValueError: `batch_size` exceeds the data, or the processes cannot share it equally.
    """
    kind = StreamedMinibatches if isinstance(x, ImageFiles) else Minibatches
    dealt = kind(x, y, batch_size, seed, dtype, rank, world_size)
    return JitteredMinibatches(dealt, batch_size, seed, rank, world_size) if jittered else dealt


def _cut(name: str, split: str, images: np.ndarray, labels: np.ndarray, part, n=10) -> Data:
    images = torch.from_numpy(images[part].copy()).unsqueeze(1)
    labels = torch.from_numpy(labels[part].astype(np.int64))
    return Data(name, split, images, labels, tuple(str(c) for c in range(n)))


def _load_digits(split: str) -> Data:
    from sklearn.datasets import load_digits  # half a second that other data need not pay

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # levels 0…16
    place = np.arange(len(images)) % 7
    part = {"train": place < 5, "validation": place == 5, "test": place == 6}[split]
    return _cut("digits", split, images, digits.target, part)


def _load_mnist(name: str, split: str) -> Data:
    first = 2 if split == "test" else 0
    images, labels = (_read_idx(_fetch(name, i)) for i in (first, first + 1))
    part = {"train": slice(50_000), "validation": slice(50_000, None), "test": slice(None)}[split]
    return _cut(name, split, images, labels, part)


def _load_faces(split: str) -> Data:
    from scipy.io import loadmat  # reads arrays from a file of MATLAB 5; executes nothing

    columns = loadmat(_fetch("olivetti"))["faces"]  # (64·64, 400), each image by columns
    faces = columns.T.reshape(-1, 64, 64).swapaxes(1, 2)
    thirds = faces.repeat(3, 1).repeat(3, 2).reshape(-1, 48, 4, 48, 4)  # 64·3 = 48·4
    faces = ((thirds.sum((2, 4)) + 8) // 16).astype(np.uint8)
    place = np.arange(len(faces)) % 10
    part = {"train": place < 7, "validation": place == 7, "test": place > 7}[split]
    return _cut("faces", split, faces, np.arange(len(faces)) // 10, part, 40)


def _load_tfd(name: str, split: str) -> Data:
    from scipy.io import loadmat  # as for the faces

    file = loadmat(_fetch("tfd"), variable_names=("images", "labs_ex", "folds"))
    sets = file["folds"][:, _TFD.index(name)]  # 0 no label, 1 train, 2 validation, 3 test
    part = sets == {"train": 0, "validation": 2, "test": 3}[split]
    if split == "train":
        return Data(name, split, torch.from_numpy(file["images"][part]).unsqueeze(1))
    return _cut(name, split, file["images"], file["labs_ex"].ravel() - 1, part, 7)


def _load_facades(name: str, split: str) -> Data:
    found = stream_pairs(_facades(), "test" if split == "test" else "train", "BtoA", _FACADES[name])
    expected = 106 if split == "test" else 400
    if len(found) != expected:
        raise ValueError(f"{found.name} must hold the {expected} published pairs, got {len(found)}")
    part = {"train": slice(360), "validation": slice(360, None), "test": slice(None)}[split]
    return Data(name, split, found.images[part], inputs=found.inputs[part])


def _facades() -> Path:
    """The folder of the unpacked facades: the reader's, or one made in the cache."""
    own = Path(os.environ.get("GANLIB_DATA") or os.devnull).expanduser() / "facades"
    if (own / "trainA").is_dir():
        return own
    archive, cache = _fetch("facades"), Path(pooch.os_cache("ganlib")) / "facades"
    folder = cache / "unpacked"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as part, ZipFile(archive) as file:
            file.extractall(part)
            try:
                os.replace(Path(part) / "facades", folder)  # whole or not at all
            except OSError:
                if not folder.is_dir():  # where it is one, another process was faster
                    raise
    return folder


def _read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped idx file whose checksum is known to be right."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _fetch(folder: str, number: int = 0) -> Path:
    """The path of one checked file of a folder of data, downloaded if need be."""
    file, checksum = _FILES[folder][number], _CHECKSUMS[folder][number]
    own, cache = os.environ.get("GANLIB_DATA"), Path(pooch.os_cache("ganlib")) / folder
    kept = []
    if own:
        root = Path(own).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"GANLIB_DATA must name a folder, got {own!r}")
        kept.append(root / folder / file)
    if not _MIRRORS[folder]:
        kept.append(cache / file)
    for path in kept:
        if path.is_file():
            return _checked(path, checksum)
    failures = []
    for mirror in _MIRRORS[folder]:
        try:
            # Checks a cached file too, and downloads again one that is not as published.
            return Path(pooch.retrieve(mirror + file, checksum, file, cache))
        except Exception as error:  # whatever went wrong, the next mirror may do
            failures.append(f"  {mirror + file}\n    {type(error).__name__}: {error}")
    tried = f"Addresses tried for {file}:\n" + "\n".join(failures)
    raise FileNotFoundError(
        f"{folder} is not at hand{' and could not be downloaded' if failures else ''}.\n"
        f"Put {', '.join(_FILES[folder])}\n"
        f"into {cache}, or into {folder}/ of the folder that GANLIB_DATA names"
        f"{f' (now {own})' if own else ' (now unset)'}.\n"
        + (tried if failures else f"{file} is not public: its owners give it out for research.")
    )


def _checked(path: Path, checksum: str) -> Path:
    kind, expected = checksum.split(":")
    found = pooch.file_hash(str(path), kind)
    if found != expected:
        raise ValueError(
            f"{path} is not the published file: its {_CHECKSUM_NAMES[kind]} is {found}, expected "
            f"{expected}. It is truncated, corrupt or another data set; it was left as it is."
        )
    return path


def _only_train(images: Tensor, split: str, name: str) -> Data:
    if split != "train":
        raise MissingSplit(f"{name} has no {split!r} split: all of it is 'train'")
    return Data(name, split, images)


def _from_array(array: np.ndarray | Tensor, name: str) -> Tensor:
    if isinstance(array, np.ndarray):  # PyTorch refuses foreign byte orders and negative strides
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
    try:
        images = torch.as_tensor(array).detach().cpu()
    except TypeError as error:
        raise ValueError(f"{name} must be uint8 or float in [0, 1], got {array.dtype}") from error
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            f"{name} must have shape (N, H, W), (N, 1, H, W) or (N, 3, H, W) and hold images, "
            f"got {tuple(array.shape)}"
        )
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise ValueError(f"{name} must be uint8 or float in [0, 1], got {images.dtype}")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1], got values from {low} to {high}")
    return (images * 255).round().to(torch.uint8).contiguous()


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _IMAGE_FILES and not path.name.startswith(".") and path.is_file()
    )


def _find_images(folder: Path, split: str) -> Data:
    roots = {split: folder}
    if (folder / "train").is_dir():
        roots = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
        others = [p.name for p in folder.iterdir() if p.is_dir() and p.name not in SPLITS]
        if others:
            raise ValueError(
                f"{folder} has a folder train, so each folder must be one of {', '.join(SPLITS)}, "
                f"got {', '.join(sorted(others))}"
            )
        if split not in roots:
            raise MissingSplit(
                f"{folder} has no {split!r} split: there is no folder {folder / split}"
            )
    elif split != "train":
        raise MissingSplit(f"{folder} has no {split!r} split: all of it is 'train'")
    files, labels, classes = _image_files(roots[split]), None, ()
    if not files:
        members = {name: _class_folders(root) for name, root in roots.items()}
        classes = tuple(sorted({name for folders in members.values() for name in folders}))
        numbered = [
            (path, classes.index(name))
            for name, its_files in members[split].items()
            for path in its_files
        ]
        files = [path for path, _ in numbered]
        labels = torch.tensor([number for _, number in numbered])
    if not files:
        raise ValueError(f"{roots[split]} holds no images ({', '.join(_IMAGE_FILES)})")
    return Data(str(folder), split, ImageFiles(files), labels, classes)


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """The image files of each folder in root that has any, in the order of their names."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {folder.name: _image_files(folder) for folder in folders}
    return {name: files for name, files in found.items() if files}


def _split_folder(folder: Path, split: str) -> Path:
    """Where the photos of a split are: in its folder, or in the only one."""
    if not (folder / "train").is_dir():
        if split != "train":
            raise MissingSplit(f"{folder} has no {split!r} split: all of it is 'train'")
        return folder
    names = ("validation", "val") if split == "validation" else (split,)
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise MissingSplit(f"{folder} has no {split!r} split: there is no folder {folder / names[-1]}")


def _by_number(path: Path) -> tuple[int, str]:
    return len(path.stem), path.stem


def _twins(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of `folder`A and those of `folder`B, twins at one place of each list."""
    sides = []
    for side in "AB":
        files = sorted(_image_files(folder.with_name(folder.name + side)), key=_by_number)
        sides.append({path.stem.removesuffix(f"_{side}"): path for path in files})
        if len(sides[-1]) < len(files):
            raise ValueError(f"{folder}{side} holds two images of one name")
    A, B = sides
    for these, others, letter in ((A, B, "B"), (B, A, "A")):
        for name, path in these.items():
            if name not in others:
                raise ValueError(f"{path} has no twin in {folder}{letter}")
    if not A:
        raise ValueError(f"{folder}A holds no images ({', '.join(_IMAGE_FILES)})")
    return list(A.values()), [B[name] for name in A]
