import hashlib
import io
import json
import ntpath
import os
import socket
import stat
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medmm_lib.data
from medmm_lib import cli
from medmm_lib.data import fetching
from medmm_lib.data.fetching import Source, fetch
from medmm_lib.data.loaded import DataError, inside
from medmm_lib.data.remote import GitHub, Hub, Zenodo
from tests.data import layout


def git_hash(content):
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Public(ThreadingHTTPServer):
    """Serves files as GitHub, the hub and Zenodo do; counts what it sent, and can break off after so many bytes."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.sent, self.break_after, self.ranges = files, {}, None, True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def listed(self, path):
        if path.startswith("/repos/"):
            tree = [
                {"path": f"data/{name}", "type": "blob", "size": len(content), "sha": git_hash(content)}
                for name, content in self.files.items()
            ]
            return {"tree": [*tree, {"path": "data", "type": "tree"}], "truncated": False}
        if path.startswith("/api/datasets/"):
            return [
                {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
                | ({"lfs": {"oid": hashlib.sha256(content).hexdigest()}} if name.endswith(".zip") else {})
                for name, content in self.files.items()
            ]
        if path.startswith("/records/"):
            return {"files": [
                {"key": name, "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                 "links": {"self": f"{self.url}/x/{name}"}} for name, content in self.files.items()
            ]}  # fmt: skip
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, server = unquote(self.path.partition("?")[0]), self.server
        if (listed := server.listed(path)) is not None:
            return self._send(200, json.dumps(listed).encode())
        name = next((name for name in server.files if path.endswith(f"/{name}")), None)
        if name is None:
            return self._send(404, b"")
        content, start = server.files[name], 0
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            return self._send(500, b"this server would compress")
        if (asked := self.headers.get("Range")) and server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        server.sent[name] = server.sent.get(name, 0) + len(content) - start
        return self._send(206 if start else 200, content[start:], server.break_after)

    def _send(self, status, content, only=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:only])
        if only is not None and only < len(content):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


@pytest.fixture
def public():
    servers = []

    def start(files):
        servers.append(Public(files))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()


def packed(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def silent(_):
    pass


def places(server):
    return [
        GitHub("a/b", "c0ffee", "data", api=server.url, raw=server.url),
        Hub("a/b", endpoint=server.url),
        Zenodo(7, api=server.url),
    ]


def test_each_place_is_fetched_checked_and_left_alone_when_right(tmp_path, public):
    server = public({"a b.json": b"{}", "pictures.zip": packed({"deep/one.txt": b"one"}), "other.txt": b"no"})
    for number, place in enumerate(places(server)):
        source = Source(place, "it", "free", ("*.json", "*.zip"), (("pictures.zip", "pictures"),))
        server.sent.clear()
        folder = fetch(source, tmp_path / str(number), silent)
        assert (folder / "a b.json").read_bytes() == b"{}"
        assert (folder / "pictures" / "deep" / "one.txt").read_bytes() == b"one"
        assert not (folder / "other.txt").exists()
        [first, _] = json.loads((folder.parent / "it.manifest.json").read_text())
        assert first["path"] == "a b.json"
        assert first["size"] == 2
        fetch(source, tmp_path / str(number), silent)
        assert server.sent["pictures.zip"] == len(server.files["pictures.zip"])  # once


def test_a_file_that_was_cut_off_goes_on_where_it_was(tmp_path, public):
    content = bytes(range(256)) * 400
    server = public({"a.bin": content})
    source = Source(Hub("a/b", endpoint=server.url), "it", "free")
    server.break_after = 80_000
    with pytest.raises(DataError, match=r"a\.bin can't be had.*the same command goes on"):
        fetch(source, tmp_path, silent)
    assert not (tmp_path / "it" / "a.bin").exists()
    server.break_after = None
    server.sent.clear()
    assert (fetch(source, tmp_path, silent) / "a.bin").read_bytes() == content
    assert server.sent["a.bin"] < len(content)


def test_a_server_that_knows_no_rest_of_a_file_sends_the_whole(tmp_path, public):
    content = bytes(range(256)) * 400
    server = public({"a.bin": content})
    server.ranges = False
    part = tmp_path / "it" / "a.bin.part"
    part.parent.mkdir()
    for begun in (content[:1000], b"something longer" * 10_000, content):
        part.write_bytes(begun)
        path = fetch(Source(Hub("a/b", endpoint=server.url), "it", "free"), tmp_path, silent) / "a.bin"
        assert path.read_bytes() == content
        path.unlink()


def test_what_a_place_does_not_list_is_named_before_anything_is_fetched(tmp_path, public):
    server = public({"a.txt": b"a"})
    place = Hub("a/b", endpoint=server.url)
    with pytest.raises(DataError, match=r"lists no \*\.csv, b\.zip: it is not what"):
        fetch(Source(place, "it", "free", ("*.txt", "*.csv"), (("b.zip", ""),)), tmp_path, silent)
    assert server.sent == {}


def test_a_place_that_changed_is_told_and_followed(tmp_path, public):
    server = public({"a.zip": packed({"one.txt": b"old"})})
    source = Source(Hub("a/b", endpoint=server.url), "it", "free", unpacked=(("a.zip", ""),))
    fetch(source, tmp_path, silent)
    server.files["a.zip"] = packed({"one.txt": b"new"})
    told = []
    assert (fetch(source, tmp_path, told.append) / "one.txt").read_bytes() == b"new"
    assert any("has changed since" in line for line in told)


def test_a_damaged_file_and_a_part_of_another_version_are_fetched_again(tmp_path, public):
    server = public({"a.bin": b"right" * 100})
    source = Source(Hub("a/b", endpoint=server.url), "it", "free")
    path = fetch(source, tmp_path, silent) / "a.bin"
    path.write_bytes(b"wrong" * 100)
    fetch(source, tmp_path, silent)
    assert path.read_bytes() == b"right" * 100
    path.unlink()
    path.with_name("a.bin.part").write_bytes(b"old version")
    fetch(source, tmp_path, silent)
    assert path.read_bytes() == b"right" * 100
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_not_what_the_listing_says_is_refused(tmp_path, public):
    server = public({"a.bin": b"right"})
    source = Source(Hub("a/b", endpoint=server.url), "it", "free")
    server.listed = lambda path: (
        [{"type": "file", "path": "a.bin", "size": 5, "oid": "0" * 40}] if "/api/" in path else None
    )
    with pytest.raises(DataError, match="is not what its listing says"):
        fetch(source, tmp_path, silent)
    assert not list((tmp_path / "it").iterdir())


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:out.txt"])
def test_no_name_leads_out_of_the_folder(tmp_path, public, name):
    server = public({"a.zip": packed({name.replace("\\", "\\\\"): b"x"})})
    source = Source(Hub("a/b", endpoint=server.url), "it", "free", unpacked=(("a.zip", ""),))
    with pytest.raises(DataError, match="leads out of"):
        fetch(source, tmp_path / "deep", silent)
    server.listed = lambda path: [{"type": "file", "path": name, "size": 1, "oid": ""}]
    with pytest.raises(DataError, match="leads out of"):
        fetch(Source(source.place, "it", "free"), tmp_path / "deep", silent)
    assert not list(tmp_path.rglob("out.txt"))


@given(st.lists(st.sampled_from([*"./\\:\0ab", "..", "C:", "//"]), max_size=8).map("".join))
def test_every_name_stays_inside_or_is_refused(name):
    folder = Path("/data/it")
    try:
        path = inside(folder, name)
    except DataError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(folder)
    assert path != folder
    there = PureWindowsPath("D:/data/it")
    assert PureWindowsPath(ntpath.normpath(there / name)).is_relative_to(there)


def archive_of(*items):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in items:
            archive.writestr(info, content)
    return buffer.getvalue()


def unpacked(tmp_path, public, content):
    place = Hub("a/b", endpoint=public({"a.zip": content}).url)
    return fetch(Source(place, "it", "free", unpacked=(("a.zip", ""),)), tmp_path, silent)


def test_a_link_in_a_zip_file_becomes_a_file(tmp_path, public):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    folder = unpacked(tmp_path, public, archive_of((link, "/etc"), ("link2/a.txt", b"a")))
    assert (folder / "link").read_text() == "/etc"
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_zip_file_that_grows_beyond_all_measure_is_refused(tmp_path, public):
    with pytest.raises(DataError, match=r"a\.zip would grow to 64 MiB, more than 20 times its size"):
        unpacked(tmp_path, public, archive_of(("a.png", bytes(2**26))))
    assert [path.name for path in (tmp_path / "it").iterdir()] == ["a.zip"]


def test_an_item_too_large_for_the_memory_is_refused(tmp_path, public, monkeypatch):
    monkeypatch.setattr(fetching, "LARGEST_ITEM", 2**16)
    with pytest.raises(DataError, match=r"a\.zip holds a\.png with 1 MiB"):
        unpacked(tmp_path, public, archive_of(("a.png", os.urandom(2**20))))


def test_an_item_that_holds_more_than_it_declares_is_refused(tmp_path, public):
    content, declared = archive_of(("a.png", bytes(2**20))), struct.pack("<I", 2**20)
    assert content.count(declared) == 2  # before the item, and in the archive's list
    with pytest.raises(DataError, match=r"a\.zip is no whole zip file"):
        unpacked(tmp_path, public, content.replace(declared, struct.pack("<I", 100)))


def test_a_download_stops_where_it_is_larger_than_listed(tmp_path, public):
    server = public({"a.bin": bytes(2**22)})
    fetching._download(f"{server.url}/a.bin", tmp_path / "a.part", 1000)
    assert (tmp_path / "a.part").stat().st_size <= 1000 + fetching.CHUNK


def test_a_broken_zip_file_is_named(tmp_path, public):
    server = public({"a.zip": b"no zip"})
    with pytest.raises(DataError, match=r"a\.zip is no whole zip file"):
        fetch(Source(Hub("a/b", endpoint=server.url), "it", "free", unpacked=(("a.zip", ""),)), tmp_path, silent)


def test_without_a_network_it_says_so(tmp_path):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/.*Is there a network"):
        fetch(Source(Hub("a/b", endpoint="http://127.0.0.1:9"), "it", "free"), tmp_path, silent)


def test_fetched_and_placed_by_hand_have_the_same_fingerprint(tmp_path, public):
    placed = layout.small(tmp_path / "by_hand" / "medpix-2.0")
    files = {str(path.relative_to(placed)): path.read_bytes() for path in placed.rglob("*") if path.is_file()}
    files["splitted_dataset/uid_list.json"] = files.pop("uid_list.json")
    files["README.md"] = b"about"
    server = public(files)
    place = GitHub("a/b", "c0ffee", "data", api=server.url, raw=server.url)
    fetch(Source(place, "medpix-2.0", "free", fetching.MEDPIX), tmp_path / "fetched", silent)
    prints = {medmm_lib.data.fingerprint("medpix", tmp_path / where) for where in ("by_hand", "fetched")}
    assert len(prints) == 1
    assert medmm_lib.data.load("medpix", tmp_path / "fetched").num_rows == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mimic-cxr"], "comes from PhysioNet"),
        (["imagenet"], "unknown source 'imagenet'. There are: medpix, roco, vqa_rad, slake, pmc_vqa"),
        (["medpix"], "say where to"),
        (["medpix", "--to", "data"], "the licence was not accepted"),
    ],
)
def test_the_command_says_what_it_needs(arguments, told, capsys, monkeypatch):
    monkeypatch.delenv("MEDMM_DATA", raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert cli.main(["data", "fetch", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_a_folder_that_can_not_be_written_is_told(tmp_path, public, capsys, monkeypatch):
    server = public({"a.txt": b"a"})
    monkeypatch.setitem(fetching.FETCHED, "slake", Source(Hub("a/b", endpoint=server.url), "slake", "free"))
    (tmp_path / "file").write_text("no folder")
    assert cli.main(["data", "fetch", "slake", "--accept-licence", "--to", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err


def test_the_command_shows_the_licence_and_fetches_when_it_is_accepted(tmp_path, public, capsys, monkeypatch):
    server = public({"a.txt": b"a"})
    monkeypatch.setitem(fetching.FETCHED, "slake", Source(Hub("a/b", endpoint=server.url), "slake", "Licence X"))
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert cli.main(["data", "fetch", "slake", "--to", str(tmp_path)]) == 0
    assert "Licence X" in capsys.readouterr().out
    assert (tmp_path / "slake" / "a.txt").is_file()
