import numpy as np
import pandas as pd
import pytest

from medmm_lib.fourm import studies as arms_of
from medmm_lib.fourm.transfer import transfer
from tests.fourm.test_experiment import SETUP, corpus

__all__ = ["corpus"]


def test_as_many_studies_of_one_kind_as_of_all(corpus, tmp_path):
    kinds = ["axial"] * 3 + ["coronal"] * 2 + [None]  # each in two views: 12 rows
    tested = ["axial"] * 4 + ["coronal"] * 3 + [None]
    table = transfer(SETUP, corpus, kinds, tested, 2, tmp_path, [0])
    assert list(table["tested on"]) == ["axial", "coronal"]
    assert list(table["studies"]) == [4, 3]
    np.testing.assert_allclose(table["axial only"] - table["all kinds"], table["difference"])
    shown = arms_of.told(table)
    assert shown["difference [95 %]"][0].startswith(f"{table['difference'][0]:+.3f} [")


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (1304960, "1,304,960"), (0.12345, "0.123"), ("axial", "axial")]
)
def test_values_are_told_for_readers(value, text):
    table = pd.DataFrame([{"value": value, "difference": 0.5, "difference_low": 0.25, "difference_high": 0.75}])
    assert arms_of.told(table).to_dict("records") == [{"value": text, "difference [95 %]": "+0.500 [+0.250, +0.750]"}]
