"""What lies in a directory of checkpoints and is damaged, foreign or hostile does no harm."""

import functools
import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from disk_cases import break_off, differences, files, saying
from kept_jobs import valley

import jaxgd as gd

START = np.linspace(-1.2, 1, 3)
POSITIONS = 40


def run(directory, max_steps=90, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=20)
    return gd.minimize(valley, START, gd.Adam(0.05), max_steps, checkpoint=checkpoint, **options)


@pytest.fixture(scope="module")
def straight():
    return run(None)


def broken_off(directory):
    """The two checkpoints of a run that broke off, as bytes by path, the older one first."""
    break_off(functools.partial(run, directory), 41)
    return {path: path.read_bytes() for path in files(directory)}


def put_back(directory, contents):
    for path in files(directory):
        path.unlink()
    for path, some in contents.items():
        path.write_bytes(some)


def damages(some):
    """A file's bytes, each time with one of them another, or cut off somewhere."""
    for at in np.linspace(0, len(some) - 1, POSITIONS).astype(int):
        yield some[:at] + bytes([some[at] ^ 1 << int(at) % 8]) + some[at + 1 :]
        yield some[:at]


def test_any_damage_is_seen_and_the_one_before_is_used(tmp_path, straight):
    contents = broken_off(tmp_path)
    older, newer = contents
    for damaged in damages(contents[newer]):
        put_back(tmp_path, contents | {newer: damaged})
        with saying(f"{newer.name} cannot be read .*: the one before it is used, {older.name}"):
            result = run(tmp_path)
        assert not differences(straight, result)


def test_where_all_are_damaged_the_run_begins_anew(tmp_path, straight):
    contents = broken_off(tmp_path)
    for some in (b"", b"PK", *[next(iter(contents.values()))[:-1]]):
        put_back(tmp_path, dict.fromkeys(contents, some))
        with saying("cannot be read .*cannot be read .*there is no other, and the run begins anew"):
            result = run(tmp_path)
        assert not differences(straight, result)
        assert not differences(straight, run(tmp_path))


class Trap:
    """What a pickle would call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def archive(**entries):
    """A .npz of entries, each an array or the bytes of a file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, entry in entries.items():
            if not isinstance(entry, bytes):
                part = io.BytesIO()
                np.lib.format.write_array(part, entry)
                written.writestr(f"{name}.npy", part.getvalue())
            else:
                written.writestr(f"{name}.npy", entry)
    return file.getvalue()


def says(**told):
    return np.frombuffer(json.dumps({"format": 1, "kinds": {}} | told).encode(), np.uint8)


def huge(shape="(1000000000000000,)"):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def damaged_stream():
    whole = bytearray(archive(says=says(kinds={"a": "float64"}), a0=np.zeros(3000)))
    whole[whole.index(b"a0.npy") + 20] ^= 255
    return bytes(whole)


def object_array(trap):
    return np.array([Trap(trap)], object)


HOSTILE = {
    "pickle": lambda trap: pickle.dumps(Trap(trap)),
    "array": lambda trap: _saved(np.arange(3)),
    "object array": lambda trap: _saved(object_array(trap)),
    "objects inside": lambda trap: archive(says=says(kinds={"a": "O"}), a0=object_array(trap)),
    "objects say": lambda trap: archive(says=object_array(trap)),
    "huge": lambda trap: archive(says=says(kinds={"a": "float64"}), a0=huge()),
    "says huge": lambda trap: archive(says=huge()),
    "negative": lambda trap: archive(says=says(kinds={"a": "float64"}), a0=huge("(-1,)")),
    "a code": lambda trap: archive(says=says(kinds={"a": "float64"}), a0=huge(f"open({trap})")),
    "damaged stream": lambda trap: damaged_stream(),
    "foreign": lambda trap: archive(x=np.zeros(3)),
    "deep": lambda trap: archive(says=np.frombuffer(b"[" * 10**5, np.uint8)),
    "a list": lambda trap: archive(says=np.frombuffer(b"[1]", np.uint8)),
    "no text": lambda trap: archive(says=np.frombuffer(b"\xff\xfe", np.uint8)),
    "a later format": lambda trap: archive(says=says(format=99)),
    "no number": lambda trap: archive(says=says(format="1")),
    "dtype": lambda trap: archive(says=says(kinds={"a": "no such"}), a0=np.zeros(3)),
    "key": lambda trap: archive(says=says(kinds={"a": "key:none"}), a0=np.zeros(2, np.uint32)),
    "nothing in it": lambda trap: archive(says=says()),
    "another run": lambda trap: archive(says=says(fingerprint={}, kind="run", step=1)),
    "text": lambda trap: b"hello",
    "empty": lambda trap: b"",
}


def _saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_put_in_their_place_does_no_harm(name, tmp_path, straight):
    """Under a name with the right digits, so that it is looked into."""
    trap = tmp_path / "trap"
    some = HOSTILE[name](trap)
    digits = hashlib.sha256(some).hexdigest()[:16]
    directory = tmp_path / "kept"
    contents = broken_off(directory)
    (directory / f"checkpoint-000900-{digits}.npz").write_bytes(some)
    with saying("checkpoint-000900.* cannot be read .*: the one before it is used"):
        result = run(directory)
    assert not trap.exists()
    assert not differences(straight, result)
    assert contents
