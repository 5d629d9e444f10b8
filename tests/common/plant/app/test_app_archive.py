"""Archives that two readers could take for two apps, or that harm whoever unpacks them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from app_archives import MANIFEST, MINIMAL, PROJECT, manifest, pack, pack_entries, unpack

from common.errors import InputError
from common.plant.app.archive import MOST_BYTES, MOST_FILES, read_archive
from common.plant.app.content import App

Entries = list[tuple["str | zipfile.ZipInfo", bytes]]
HONEST = {**MINIMAL, "a/__init__.py": b"", "a/b.py": b"app = 1\n"}


def listed(**more: bytes) -> Entries:
    """An honest archive with further files, all of them on Flower's list."""
    contents = {**HONEST, **more}
    return [*contents.items(), (MANIFEST, manifest(contents))]


def entry(name: str, mode: int = 0, flags: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = 3
    info.flag_bits |= flags
    return info


def test_an_honest_one_is_read() -> None:
    app = read_archive(pack(HONEST))
    assert app.contents == HONEST
    assert (app.name, app.version) == ("tests/small", "1.0")
    assert app.hash == App(HONEST).hash


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/etc/passwd", "is not plainly within"),
        ("../outside.py", "is not plainly within"),
        ("a/../../outside.py", "is not plainly within"),
        ("a/./b2.py", "is not plainly within"),
        ("a//b2.py", "is not plainly within"),
        ("a\\b2.py", "unusual sign"),
        ("C:/b2.py", "unusual sign"),
        ("a/b\n2.py", "unusual sign"),
        ("a/b\u202e2.py", "unusual sign"),
        ("a/b,2.py", "unusual sign"),
        ("A/c.py", "'a/__init__.py' and 'A'|'a' and 'A', one path on some disks"),
        ("a/B.py", "'a/b.py' and 'a/B.py', one path on some disks"),
        ("a/b.py/c.py", "'a/b.py' as a file and as a folder"),
        ("a/empty/", "holds the folder 'a/empty/'"),
        ("", "is not plainly within|unusual sign"),
    ],
    ids=ascii,
)
def test_a_path_that_is_none(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_archive(pack_entries(listed(**{name: b""})))


def test_two_spellings_of_one_letter() -> None:
    with pytest.raises(InputError, match="one path on some disks"):
        read_archive(pack_entries(listed(**{"a/\u00e9.py": b"", "a/e\u0301.py": b""})))


def test_a_name_that_ends_earlier_for_some_readers() -> None:
    """`zipfile` reads a name up to a zero byte, others all of it."""
    archive = pack_entries(listed(**{"a/evil.pyXhidden": b""})).replace(b"pyXhid", b"py\0hid")
    with pytest.raises(InputError, match=r"unusual sign|cannot be read"):
        read_archive(archive)


@pytest.mark.parametrize("twice", ["a/b.py", "pyproject.toml", MANIFEST])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(twice: str, first: bool) -> None:
    more: Entries = [(twice, b"import os\n")]
    honest = listed()
    with pytest.raises(InputError, match=f"holds '{twice}' twice"):
        read_archive(pack_entries([*more, *honest] if first else [*honest, *more]))


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFLNK | 0o777, "'a/c.py', which is a link"),
        (stat.S_IFIFO | 0o600, "'a/c.py', which is no plain file"),
        (stat.S_IFCHR | 0o600, "'a/c.py', which is no plain file"),
    ],
)
def test_what_is_no_plain_file(mode: int, said: str) -> None:
    *files, list_ = listed(**{"a/c.py": b"/etc/passwd"})
    with pytest.raises(InputError, match=said):
        read_archive(pack_entries([*files[:-1], (entry("a/c.py", mode), b"/etc/passwd"), list_]))


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_an_unusual_way(kind: int) -> None:
    info = entry("a/c.py")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info, b"1" * 1000, kind)
    with pytest.raises(InputError, match="packed in an unusual way"):
        read_archive(buffer.getvalue())


def test_enciphered() -> None:
    archive = pack(HONEST)
    # The flag stands 6 bytes into a local header, 8 into the directory's.
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = archive.index(sign) + place
        archive = archive[:at] + b"\x01" + archive[at + 1 :]
    with pytest.raises(InputError, match="enciphered"):
        read_archive(archive)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: {**c, "a/more.py": b"x"}, "holds 'a/more.py', which is not on its list"),
        (lambda c: {**c, "a/more.so": b"x"}, "holds 'a/more.so', which is not on its list"),
        (lambda c: {k: v for k, v in c.items() if k != "a/b.py"}, "lacks 'a/b.py'"),
        (lambda c: {**c, "a/b.py": b"app = 2\n"}, "'a/b.py', which is not what its list"),
    ],
)
def test_files_and_list_that_differ(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], said: str
) -> None:
    entries: Entries = [*change(dict(HONEST)).items(), (MANIFEST, manifest(HONEST))]
    with pytest.raises(InputError, match=said):
        read_archive(pack_entries(entries))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "was not packed by Flower"),
        (b"", "names '' twice or not whole|lacks ''"),
        (b"a/b.py", "names 'a/b.py' twice or not whole"),
        (b"\xff\xfe", "twice or not whole"),
        (manifest(HONEST) + b"\n" + manifest(MINIMAL), "names 'pyproject.toml' twice"),
    ],
    ids=["none", "empty", "half", "no text", "twice"],
)
def test_a_list_that_is_none(text: bytes | None, said: str) -> None:
    entries: Entries = [*HONEST.items()]
    with pytest.raises(InputError, match=said):
        read_archive(pack_entries(entries if text is None else [*entries, (MANIFEST, text)]))


@pytest.mark.parametrize(
    "archive",
    [b"", b"no zip", pack(HONEST)[:-40], pack(HONEST, 9)[:200], pack(HONEST)[40:]],
    ids=["empty", "text", "without its end", "half", "without its begin"],
)
def test_no_archive(archive: bytes) -> None:
    with pytest.raises(InputError, match="the app's archive "):
        read_archive(archive)


def test_too_long() -> None:
    with pytest.raises(InputError, match=f"has {MOST_BYTES + 1} bytes"):
        read_archive(bytes(MOST_BYTES + 1))


def test_too_many_files() -> None:
    many = {f"a/{number}.py": b"" for number in range(MOST_FILES)}
    with pytest.raises(InputError, match="files, 2000 may be"):
        read_archive(pack({**HONEST, **many}))


def test_a_bomb_is_not_set_off() -> None:
    """4 GB of zeros in 4 MB: the directory tells, and is believed only downwards."""
    zeros = bytes(64 * 1024 * 1024)
    bombs = {f"a/{number}.py": zeros for number in range(2)}
    archive = pack({**MINIMAL, **bombs}, 9)
    assert len(archive) < MOST_BYTES
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(InputError, match=f"unpacks to {2 * len(zeros)}|unpacks to 1342"):
        read_archive(archive)
    assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 5 * MOST_BYTES
    tracemalloc.stop()


def test_a_bomb_that_promises_little() -> None:
    """The same with a length in its directory that is not so: no more than that is unpacked."""
    zeros = bytes(64 * 1024 * 1024)
    archive = pack({**MINIMAL, "a/b.py": zeros}, 9)
    length = struct.pack("<L", len(zeros))
    assert archive.count(length) >= 1
    tracemalloc.start()
    with pytest.raises(InputError, match=r"cannot be read|another length"):
        read_archive(archive.replace(length, struct.pack("<L", 1000)))
    assert tracemalloc.get_traced_memory()[1] < 5 * MOST_BYTES
    tracemalloc.stop()


def test_names_out_of_it_are_shown_as_text_of_bounded_length() -> None:
    name = "a/\x1b[2J" + "x" * 5000 + ".py"
    with pytest.raises(InputError) as error:
        read_archive(pack_entries(listed(**{name: b""})))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_any_byte_changed_gives_the_same_app_or_none() -> None:
    """Whatever is flipped: what is read is what is unpacked, and an error is said in words."""
    archive = bytearray(pack(HONEST))
    taken = 0
    for place in range(len(archive)):
        archive[place] ^= 0xFF
        with contextlib.suppress(InputError):
            app = read_archive(bytes(archive))
            taken += 1
            assert app.contents == HONEST
            assert unpack(bytes(archive)) == {**HONEST, MANIFEST: manifest(HONEST)}
        archive[place] ^= 0xFF
    # Dates, versions and attributes of the entries, and the like.
    assert 0 < taken < len(archive) / 4


def test_the_project_file_is_read_once() -> None:
    digest = hashlib.sha256(PROJECT).hexdigest()
    assert digest not in {file.sha256 for file in App(MINIMAL).files}  # what it says is hashed
    assert unpack(pack(MINIMAL))["pyproject.toml"] == PROJECT
