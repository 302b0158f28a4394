import ast
import gc

from medmm_lib import paths, sources


def test_a_parse_within_a_parse_is_no_error():
    """A garbage collection amid a parse may run code that parses as well, which CPython 3.11 takes for an error."""

    def deeper(frames):
        return deeper(frames - 1) if frames else ast.parse("a = 1")

    def parse_too(phase, _):
        deeper(20)

    source = paths.ROOT.joinpath("medmm_lib", "sources.py").read_text(encoding="utf-8")
    before = gc.get_threshold()
    gc.callbacks.append(parse_too)
    gc.set_threshold(20)
    try:
        for _ in range(20):
            sources.library_files(source)
    finally:
        gc.callbacks.remove(parse_too)
        gc.set_threshold(*before)
    assert gc.isenabled()
