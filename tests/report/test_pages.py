import re

import pytest

from medmm_lib import paths
from medmm_lib.data import mimic_cxr
from medmm_lib.data.fetching import FETCHED

LICENCE = re.compile(r"CC0 \d\.\d|CC BY[-\w]*(?: \d\.\d)?|no licence is stated")
STATED = {name: LICENCE.findall(source.licence) for name, source in FETCHED.items()}
STATED |= {"mimic_cxr": [mimic_cxr.LICENCE]}


@pytest.mark.parametrize("source", STATED)
def test_the_page_on_data_states_the_licence_that_is_shown_before_a_download(source):
    row = re.search(rf"^\| `{source}` \|.*$", (paths.REPORT / "data.qmd").read_text(), re.MULTILINE)[0]
    assert STATED[source]
    for licence in STATED[source]:
        assert licence.removeprefix("no licence").strip() in row
