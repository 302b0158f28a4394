import io
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from medmm_lib import paths
from medmm_lib.data import growth, shards, streams
from medmm_lib.data.loaded import DataError


def picture(number, side=8):
    return Image.fromarray(np.full((side, side), number % 256, np.uint8))


def rows(count, first=0):
    for number in range(first, count):
        yield {"image": picture(number), "image_id": f"i{number}", "caption": f"image {number}" if number % 3 else None}


def after(count):
    return lambda last: rows(count, 0 if last is None else int(last[1:]) + 1)


def ids(stream):
    return [row["json"]["image_id"] for row in stream]


def numbered(*numbers):
    return [f"i{number}" for number in numbers]


def absurd(file):
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + file[24:29]
    return file[:12] + head + struct.pack(">I", zlib.crc32(head)) + file[33:]


def test_what_is_written_comes_back_in_order(tmp_path):
    made = shards.write(tmp_path / "a", after(25), 10)
    assert [(shard.path.name, shard.count) for shard in made] == [
        ("a-000000.tar", 10), ("a-000001.tar", 10), ("a-000002.tar", 5),
    ]  # fmt: skip
    assert all(shard.bytes == shard.path.stat().st_size for shard in made)
    assert shards.damaged(made) == {}
    faults = streams.Faults()
    back = list(streams.decoded(streams.stream(made), faults))
    assert [row["image_id"] for row in back] == numbered(*range(25))
    assert [row["caption"] for row in back[:2]] == [None, "image 1"]
    assert np.asarray(back[7]["image"]).tolist() == np.asarray(picture(7)).tolist()
    assert back[12]["key"] == "a-000001-00002"
    assert faults.count == 0


def test_a_shard_has_the_layout_of_webdataset(tmp_path):
    made = shards.write(tmp_path / "a", after(2), 10)
    with tarfile.open(made[0].path) as tar:
        assert tar.getnames() == [f"a-000000-0000{place}.{kind}" for place in range(2) for kind in ("png", "json")]
        assert json.load(tar.extractfile("a-000000-00001.json"))["image_id"] == "i1"


def test_the_same_rows_give_the_same_bytes(tmp_path):
    made = [shards.write(tmp_path / str(k) / "a", after(7), 3) for k in range(2)]
    assert [one.sha256 for one in made[0]] == [one.sha256 for one in made[1]]


def test_no_rows_give_an_index_without_shards(tmp_path):
    assert shards.write(tmp_path / "a", after(0), 3) == []
    assert shards.index(tmp_path / "a") == []


def test_a_writer_that_was_stopped_goes_on_after_the_last_whole_shard(tmp_path):
    asked = []

    def stopping(last):
        asked.append(last)
        for row in after(25)(last):
            if row["image_id"] == "i17" and len(asked) == 1:
                raise InterruptedError
            yield row

    with pytest.raises(InterruptedError):
        shards.write(tmp_path / "a", stopping, 5)
    with pytest.raises(DataError, match="run it again"):
        shards.index(tmp_path / "a")
    assert len(list((tmp_path / "a").glob("*.tar*"))) == 3
    made = shards.write(tmp_path / "a", stopping, 5)
    assert asked == [None, "i14"]
    assert ids(streams.stream(made)) == numbered(*range(25))
    assert [one.sha256 for one in made] == [one.sha256 for one in shards.write(tmp_path / "b" / "a", after(25), 5)]
    assert sorted(path.name for path in (tmp_path / "a").glob("[!.]*")) == [
        *(f"a-{k:06d}.tar" for k in range(5)),
        "index.json",
    ]


WRITER = """
import sys, time
from pathlib import Path
from tests.data.test_shards import after
from medmm_lib.data import shards, streams

def slow(last):
    for row in after(400)(last):
        time.sleep(0.005)
        yield row

print("begun", flush=True)
shards.write(Path(sys.argv[1]), slow, 20)
"""


def test_a_writer_that_was_killed_loses_and_doubles_nothing(tmp_path):
    folder = tmp_path / "a"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], cwd=paths.ROOT, stdout=subprocess.PIPE)
    writer.stdout.readline()
    while len(list(folder.glob("[!.]*.tar"))) < 3:
        assert writer.poll() is None
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (folder / ".a-000099.tar.left").write_bytes(b"half a shard")
    with (folder / shards.PROGRESS).open("a") as file:
        file.write('{"name": "a-0000')  # a line that was cut off
    made = shards.write(folder, after(400), 20)
    assert ids(streams.stream(made)) == numbered(*range(400))
    assert not list(folder.glob(".*.tar.*"))


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    made = shards.write(tmp_path / "a", after(5), 2)
    assert shards.write(tmp_path / "a", lambda last: pytest.fail("rows were asked for"), 2) == made


def test_broken_and_absurd_pictures_are_skipped_and_told_by_key(tmp_path):
    given = list(rows(30))
    whole = shards.encoded(picture(0, 64))
    given[13]["image"], given[17]["image"] = whole[: len(whole) // 2], absurd(whole)
    given[22]["image"], given[23]["image"] = b"no picture", shards.encoded(Image.new("L", (30_000, 1)))
    made = shards.write(tmp_path / "a", lambda last: given, 10)
    faults = streams.Faults()
    back = streams.decoded(streams.stream(made), faults)
    assert [row["image_id"] for row in back] == numbered(*(k for k in range(30) if k not in (13, 17, 22, 23)))
    assert faults.count == 4
    assert list(faults.told) == ["a-000001-00003", "a-000001-00007", "a-000002-00002", "a-000002-00003"]
    assert "30,000 × 1 pixels" in faults.told["a-000002-00003"]


def test_told_faults_stay_few():
    faults = streams.Faults()
    for number in range(streams.TOLD + 5):
        faults.add(str(number), "broken")
    assert faults.count == streams.TOLD + 5
    assert len(faults.told) == streams.TOLD


def test_a_damaged_shard_is_told(tmp_path):
    made = shards.write(tmp_path / "a", after(40), 10)
    content = bytearray(made[1].path.read_bytes())
    content[700] ^= 1
    made[1].path.write_bytes(content)
    made[2].path.write_bytes(made[2].path.read_bytes()[:-512])
    made[3].path.unlink()
    told = shards.damaged(made)
    assert set(told) == {"a-000001.tar", "a-000002.tar", "a-000003.tar"}
    assert "sha256" in told["a-000001.tar"]
    assert "bytes instead of" in told["a-000002.tar"]
    assert "missing" in told["a-000003.tar"]
    whole = [shard for shard in made if shard.path.name not in told]
    assert ids(streams.stream(whole)) == numbered(*range(10))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_parts_of_a_stream_are_everything_once(tmp_path, parts):
    made = shards.write(tmp_path / "a", after(47), 10)
    seen = [ids(streams.stream(made, part=part, parts=parts)) for part in range(parts)]
    assert all(seen)
    assert sorted(name for some in seen for name in some) == sorted(numbered(*range(47)))


def test_more_parts_than_shards_are_refused(tmp_path):
    made = shards.write(tmp_path / "a", after(20), 10)
    with pytest.raises(ValueError, match="a shard for each"):
        streams.stream(made, part=0, parts=3)


@pytest.mark.parametrize("taken", [1, 10, 26])
def test_a_stream_goes_on_from_its_state(tmp_path, taken):
    made = shards.write(tmp_path / "a", after(35), 10)
    first = streams.stream(made)
    passing = iter(first)
    seen = [next(passing)["json"]["image_id"] for _ in range(taken)]
    state = json.loads(json.dumps(first.state_dict()))
    second = streams.stream(made)
    second.load_state_dict(state)
    assert seen + ids(second) == numbered(*range(35))


def test_a_stream_begins_with_any_shard(tmp_path):
    made = shards.write(tmp_path / "a", after(35), 10)
    assert ids(streams.stream(made[2:])) == numbered(*range(20, 35))


@pytest.mark.parametrize(
    ("row", "message"),
    [({"image_id": "i0"}, "stands twice"), ({"image_id": "i1", "colour": "red"}, "unknown fields colour")],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, row, message):
    given = [*rows(1), {"image": picture(0)} | row]
    with pytest.raises(ValueError, match=message):
        shards.write(tmp_path / "a", lambda last: given, 10)
    assert not list((tmp_path / "a").glob("*.tar*"))


def test_two_writers_do_not_share_a_folder(tmp_path):
    with paths.locked(tmp_path / "a"), pytest.raises(paths.InUse):
        shards.write(tmp_path / "a", after(3), 2)


@pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"shards": [{"name": "a"}]}'])
def test_an_index_that_cannot_be_read_says_so(tmp_path, content):
    (tmp_path / shards.INDEX).write_text(content)
    with pytest.raises(DataError, match="can't be read"):
        shards.index(tmp_path)


def test_an_index_names_no_file_elsewhere(tmp_path):
    entry = {"name": "../../etc/passwd", "count": 1, "sha256": "", "bytes": 1}
    (tmp_path / shards.INDEX).write_text(json.dumps({"shards": [entry]}))
    assert shards.index(tmp_path)[0].path == tmp_path / "passwd"


def test_a_long_stream_takes_no_more_memory_than_a_short_one(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)  # does not compress: 9 KB
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")

    def many(last):
        return ({"image": file.getvalue(), "image_id": f"i{k}"} for k in range(4000))

    process, meter = psutil.Process(), growth.Meter(100)
    list(many(None))
    before = process.memory_info().rss
    made = shards.write(tmp_path / "a", many, 200)
    written = process.memory_info().rss
    for _ in meter.watch(streams.decoded(streams.stream(made), streams.Faults())):
        pass
    assert sum(shard.bytes for shard in made) > 36e6
    assert written - before < 10e6
    assert meter.growth_mib < 10
