from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import multiprocessing
import os
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from steepest.data import cifar, download, idx
from steepest.data.known import Content, Remote
from steepest.mistake import Failure, Mistake

BODY = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` on 127.0.0.1; `cuts` says after how many bytes of a body each next answer breaks off."""

    def __init__(self):
        self.files, self.cuts, self.asked, self.ranges, self.lies = {}, [], [], True, False
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start and self.server.lies:
            start = 0
            self.send_header("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}")
        elif start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(body[start:] if cut is None else body[start : start + cut])


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def _remote(server, body=BODY, name="a.bin"):
    server.files[f"/{name}"] = body
    return Remote(name, len(BODY), hashlib.sha256(BODY).hexdigest(), (f"{server.address}/",))


def _verify(path):
    if path.read_bytes() != BODY:
        raise Mistake("its bytes are wrong")


def test_a_file_is_laid_in_place_whole_and_asked_for_once(server, folder):
    told = []
    remote = _remote(server)
    path = download.fetch(remote, folder, _verify, lambda *step: told.append(step))
    assert path.read_bytes() == BODY and os.listdir(folder) == ["a.bin"]  # noqa: PTH208
    assert told[-1] == ("downloading a.bin", len(BODY), len(BODY)) and len(told) > 2
    download.fetch(remote, folder, _verify)
    assert server.asked == [("/a.bin", None)]


def test_a_break_is_taken_up_where_it_was(server, folder):
    server.cuts = [300_000, 500_000]
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY
    assert server.asked == [("/a.bin", None), ("/a.bin", "bytes=300000-"), ("/a.bin", "bytes=800000-")]


def test_after_too_many_breaks_it_fails_and_a_second_call_resumes(server, folder):
    server.cuts = [1000] * 3
    with pytest.raises(Failure, match=r"a.bin could not be downloaded: .*ended after 3000 of 1024000 bytes"):
        download.fetch(_remote(server), folder, _verify)
    assert [path.name for path in folder.iterdir()] == ["a.bin.part"]
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY
    assert server.asked[-1] == ("/a.bin", "bytes=3000-")
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, folder):
    server.ranges, server.cuts = False, [5000]
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_server_that_sends_another_range_than_asked_for_is_read_from_where_it_says(server, folder):
    server.lies, server.cuts = True, [5000]
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_part_of_something_else_is_thrown_away_and_read_anew(server, folder):
    (folder / "a.bin.part").write_bytes(b"x" * 1000)
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY
    assert server.asked == [("/a.bin", "bytes=1000-"), ("/a.bin", None)]


@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 10])
def test_a_part_that_is_whole_or_too_long_ends_well(server, folder, length):
    (folder / "a.bin.part").write_bytes((BODY + bytes(10))[:length])
    assert download.fetch(_remote(server), folder, _verify).read_bytes() == BODY


def test_wrong_bytes_are_refused_and_leave_nothing(server, folder):
    with pytest.raises(Failure, match=r"a wrong file \(its bytes are wrong\)"):
        download.fetch(_remote(server, BODY[:-1] + b"x"), folder, _verify)
    assert list(folder.iterdir()) == []


def test_a_file_far_too_long_is_not_read_to_its_end(server, folder):
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Failure, match="a wrong file"):
        download.fetch(_remote(server, BODY * 3), folder, _verify, lambda *step: told.append(step))
    assert list(folder.iterdir()) == [] and told == []


def test_the_mirror_is_asked_first_then_the_hosts_and_every_reason_is_told(server, folder, monkeypatch):
    monkeypatch.setenv("STEEPEST_MIRROR", server.address + "/mirror/")
    remote = _remote(server)
    assert download.fetch(remote, folder, _verify).read_bytes() == BODY
    asked = [path for path, _ in server.asked]
    assert asked == ["/mirror/set/a.bin", "/mirror/a.bin", "/a.bin"]
    (folder / "a.bin").unlink()
    server.files = {"/mirror/a.bin": BODY}
    assert download.fetch(remote, folder, _verify).read_bytes() == BODY
    (folder / "a.bin").unlink()
    server.files = {}
    with pytest.raises(Failure, match="could not be downloaded") as told:
        download.fetch(remote, folder, _verify)
    assert str(told.value).count("Not Found") == 3


def test_a_mirror_that_is_no_web_address_is_refused(folder, monkeypatch):
    monkeypatch.setenv("STEEPEST_MIRROR", "file:///etc")
    with pytest.raises(Mistake, match="must begin with http"):
        download.fetch(Remote("a.bin", 1, "", ()), folder, _verify)


def test_a_host_that_is_not_there_is_told(folder):
    with pytest.raises(Failure, match=r"127.0.0.1:9/a.bin: .*refused"):
        download.fetch(Remote("a.bin", 1, "", ("http://127.0.0.1:9/",)), folder, _verify)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", Path("/proc")):
        with pytest.raises(Mistake, match="cannot be written"), download.target("mnist", place):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX")
def test_the_folder_of_a_set_is_held_by_one_process_at_a_time(tmp_path):
    import fcntl

    with (
        download.target("set", tmp_path) as folder,
        (folder / ".lock").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _fetch_slowly(address, folder, done):
    with download.target("set", folder) as target:
        download.fetch(Remote("a.bin", len(BODY), "", (address,)), target, _verify)
    done.put(os.getpid())


def test_two_processes_at_once_download_it_once(server, tmp_path):
    _remote(server)
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    both = [context.Process(target=_fetch_slowly, args=(f"{server.address}/", tmp_path, done)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.asked) == 1 and (tmp_path / "set" / "a.bin").read_bytes() == BODY


def test_an_idx_set_is_fetched_into_the_user_cache_and_then_found(server, monkeypatch, own_cache):
    contents = []
    for stem, body in zip(idx.STEMS, (b"images", b"labels", b"more", b"last"), strict=True):
        contents.append(Content(stem, len(body), hashlib.sha256(body).hexdigest()))
        server.files[f"/{stem}.gz"] = gzip.compress(body)  # not the canonical gzip file, but what is in it is
    remotes = tuple(Remote(f"{stem}.gz", 100, "0" * 64, ("http://127.0.0.1:9/",)) for stem in idx.STEMS)
    known = replace(idx.MNIST, name="small", contents=tuple(contents), remotes=remotes, folders=("small", ""))
    monkeypatch.setenv("STEEPEST_MIRROR", server.address)
    paths = idx.fetch(known, None)
    assert paths == idx.find(known, None) and paths[0].parent == own_cache / "small"
    assert gzip.decompress(paths[2].read_bytes()) == b"more"
    server.files["/train-labels-idx1-ubyte.gz"] = gzip.compress(b"lapels")
    paths[1].unlink()
    with pytest.raises(Mistake, match="has a part of small only"):
        idx.fetch(known, None)
    for path in paths:
        path.unlink(missing_ok=True)
    with pytest.raises(Failure, match="does not have the known SHA-256"):
        idx.fetch(known, None)


def test_a_cifar_archive_is_fetched_checked_and_unpacked(server, tmp_path):
    bodies = {f"{name}.bin": bytes([i]) * 3073 for i, name in enumerate(("one", "two"))}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, body in bodies.items():
            member = tarfile.TarInfo(f"../../{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    contents = tuple(Content(name, 3073, hashlib.sha256(body).hexdigest()) for name, body in bodies.items())
    remote = Remote("c.tar.gz", len(stream.getvalue()), "0" * 64, (f"{server.address}/",))
    known = replace(cifar.CIFAR10, name="small", contents=contents, remote=remote, binary_folder="bin")
    server.files["/c.tar.gz"] = stream.getvalue()[:-30]
    with pytest.raises(Failure, match="a wrong file"):
        cifar.fetch(known, tmp_path)
    server.files["/c.tar.gz"] = stream.getvalue()
    place = cifar.fetch(known, tmp_path)
    assert place == tmp_path / "small" / "bin" == cifar.fetch(known, tmp_path)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == bodies
    assert sorted(path.name for path in place.parent.iterdir()) == [".lock", "bin"]
    assert len(cifar.load(known, tmp_path).train) == 1
