"""Data sets as tensors: embedded, cached, downloaded, or the reader's own.

`load` answers with uint8 images (N, C, H, W); `Minibatches` deals them out shuffled, as floats in
[0, 1], on whatever device they lie.
"""

import gzip
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

__all__ = ["DATASETS", "Data", "Minibatches", "as_condition", "derive_seed", "load", "to_float"]

SPLITS = ("train", "validation", "test")

_MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_SHA256 = {
    "mnist": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
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
}
DATASETS = ("digits", *_SHA256)
_IMAGE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Data:
    """One split of a data set.

    Attributes:
        name: What was loaded.
        split: "train", "validation" or "test".
        images: (N, C, H, W) uint8.
        labels: (N,) int64 classes, or None where there are none.
        classes: The classes' names, in the order of the labels' numbers.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (C, H, W)."""
        return tuple(self.images.shape[1:])


def load(source: str | os.PathLike | np.ndarray | Tensor = "digits", split: str = "train") -> Data:
    """Load one split of a data set by name, or the reader's own images.

    | source | train | validation | test |
    |---|---|---|---|
    | `"digits"`: 8×8, in scikit-learn, no network | 1,285 | 256 | 256 |
    | `"mnist"`, `"fashion-mnist"`: 28×28 | first 50,000 | last 10,000 of 60,000 | 10,000 |
    | a folder with folders `train`, `validation`, `test` | its own | its own | its own |
    | any other folder, a `.npy` file, an array or a tensor | all of it | – | – |

    Of every seven digits in order, the first five are for training, the sixth for validation, the
    seventh for testing, so that every writer is in every split.

    Files of the MNIST sets are sought in `$GANLIB_DATA/<name>/`, then in the user's cache, then
    downloaded to the cache. Each is checked against its published SHA-256.

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
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if isinstance(source, np.ndarray | Tensor):
        return _only_train(_from_array(source, "source"), split, "array")
    if source == "digits":
        return _load_digits(split)
    if source in _SHA256:
        return _load_mnist(source, split)
    path = Path(source).expanduser()
    if path.suffix == ".npy" and path.is_file():
        try:
            with path.open("rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # a damaged header raises errors of its parser, too
            raise ValueError(f"{path} is not a readable .npy file: {error}") from error
        return _only_train(_from_array(array, str(path)), split, str(path))
    if path.is_dir():
        return _load_folder(path, split)
    missing = path.parent != Path(".") and not path.exists()
    raise (FileNotFoundError if missing else ValueError)(
        f"source must be one of {', '.join(DATASETS)}, or the path of a folder of images or of a "
        f".npy file, got {str(source)!r}, which is none of these"
    )


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


class Minibatches:
    """Shuffled minibatches of (x, y), without replacement within an epoch.

    Minibatch n is a function of (seed, n) alone: a resumed run finds its place by counting. The
    last images of an epoch that do not fill a minibatch are left to the next shuffle.

    Args:
        x: (N, ...) uint8 or float data.
        y: (N, ...) conditions, dealt out by `as_condition`; or None.
        batch_size: Images in a minibatch, over all processes.
        seed: Decides every shuffle.
        dtype: The type of the x dealt out.
        rank: Number of this process, which takes every `world_size`-th image of a minibatch.
        world_size: How many processes share a minibatch.

    Raises:
        ValueError: `batch_size` exceeds the data, or the processes cannot share it equally.
    """

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
        if not 1 <= batch_size <= len(x):
            raise ValueError(f"batch_size must be from 1 to {len(x)} (the data), got {batch_size}")
        if batch_size % world_size:
            raise ValueError(
                f"batch_size must be a multiple of the {world_size} processes, got {batch_size}"
            )
        self.x, self.y, self.dtype = x, y, dtype
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.per_epoch = len(x) // batch_size
        self.epoch = -1

    def __getitem__(self, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Minibatch n ≥ 0: x as float, and y in a tuple that is empty when there is none."""
        epoch, place = divmod(n, self.per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle", epoch))
            self.order = torch.randperm(len(self.x), generator=generator).to(self.x.device)
            self.epoch = epoch
        start = place * self.batch_size
        index = self.order[start + self.rank : start + self.batch_size : self.world_size]
        x = to_float(self.x[index], self.dtype)
        return x, () if self.y is None else (as_condition(self.y[index], self.dtype),)


def _cut(name: str, split: str, images: np.ndarray, labels: np.ndarray, part) -> Data:
    images = torch.from_numpy(images[part].copy()).unsqueeze(1)
    labels = torch.from_numpy(labels[part].astype(np.int64))
    return Data(name, split, images, labels, tuple(str(c) for c in range(10)))


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


def _read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped idx file whose checksum is known to be right."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _fetch(name: str, number: int) -> Path:
    """The path of one checked file of a named set, downloaded if need be."""
    file, sha256 = _MNIST_FILES[number], _SHA256[name][number]
    own = os.environ.get("GANLIB_DATA")
    if own:
        folder = Path(own).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"GANLIB_DATA must name a folder, got {own!r}")
        path = folder / name / file
        if path.is_file():
            found = pooch.file_hash(str(path))
            if found != sha256:
                raise ValueError(
                    f"{path} is not the published file: its SHA-256 is {found}, expected {sha256}. "
                    "It is truncated, corrupt or another data set; it was left as it is."
                )
            return path
    cache = Path(pooch.os_cache("ganlib")) / name
    failures = []
    for mirror in _MIRRORS[name]:
        try:
            # Checks a cached file too, and downloads again one that is not as published.
            return Path(pooch.retrieve(mirror + file, sha256, file, cache))
        except Exception as error:  # whatever went wrong, the next mirror may do
            failures.append(f"  {mirror + file}\n    {type(error).__name__}: {error}")
    raise FileNotFoundError(
        f"{name} is not at hand and could not be downloaded.\n"
        f"Put {', '.join(_MNIST_FILES)}\n"
        f"into {cache}, or into {name}/ of the folder that GANLIB_DATA names"
        f"{f' (now {own})' if own else ' (now unset)'}.\nAddresses tried for {file}:\n"
        + "\n".join(failures)
    )


def _only_train(images: Tensor, split: str, name: str) -> Data:
    if split != "train":
        raise ValueError(f"{name} has no {split!r} split: all of it is 'train'")
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


def _load_folder(folder: Path, split: str) -> Data:
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
            raise ValueError(
                f"{folder} has no {split!r} split: there is no folder {folder / split}"
            )
    elif split != "train":
        raise ValueError(f"{folder} has no {split!r} split: all of it is 'train'")
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
    return Data(str(folder), split, _read_images(files), labels, classes)


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """The image files of each folder in root that has any, in the order of their names."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {folder.name: _image_files(folder) for folder in folders}
    return {name: files for name, files in found.items() if files}


def _read_images(files: Sequence[Path]) -> Tensor:
    from PIL import Image

    images, first = [], None
    for path in files:
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"{image.mode} holds more than 8 bits a channel")
                grey = image.mode in ("1", "L", "LA")
                array = np.asarray(image.convert("L" if grey else "RGB"))
        except Exception as error:  # Pillow's decoders raise many kinds
            raise ValueError(f"{path} is not a readable image: {error}") from error
        if first is None:
            first = array.shape
        if array.shape != first:
            raise ValueError(
                f"all images must have one size and one mode: {files[0]} is {_size(first)}, "
                f"{path} is {_size(array.shape)}"
            )
        images.append(torch.from_numpy(array.copy()))
    stacked = torch.stack(images)
    return stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]} {'grey' if len(shape) == 2 else 'RGB'}"
